// What every page shares: dialogs, one sending per form, confirmations, copying, words when the server is away.
(() => {
  "use strict";
  const words = document.body.dataset;

  function say(text, level = "info") {
    const notices = document.getElementById("notices");
    if (!notices) return;
    const line = document.createElement("p");
    line.className = `notice notice-${level}`;
    line.textContent = text;
    notices.replaceChildren(line);
  }

  // The cookie first: signing in again in another tab gives it a new value, which the form on this page does not know.
  function csrfToken() {
    const cookie = document.cookie.split("; ").find((pair) => pair.startsWith("csrftoken="));
    return cookie?.slice("csrftoken=".length) ?? document.querySelector("input[name=csrfmiddlewaretoken]")?.value ?? "";
  }

  // A form is sent once: a second click while the first is on its way does nothing.
  function sendOnce(event) {
    const form = event.target;
    if (form.method !== "post" || form.hasAttribute("hx-post") || event.defaultPrevented) return;
    if (form.dataset.sending) {
      event.preventDefault();
      return;
    }
    const question = event.submitter?.dataset.confirm ?? form.dataset.confirm;
    if (question && !window.confirm(question)) {
      event.preventDefault();
      return;
    }
    form.dataset.sending = "yes";
    if ([...form.querySelectorAll("input[type=file]")].some((input) => input.files.length)) showSending();
  }

  // A file takes its time to be sent and read: that it is on its way, and for how many seconds it has been.
  let sendingClock = 0;
  function showSending() {
    say(words.sendingFile);
    const began = Date.now();
    const seconds = document.createElement("span");
    seconds.ariaHidden = "true"; // a screen reader hears the sentence once
    document.getElementById("notices")?.lastElementChild.append(" ", seconds);
    sendingClock = window.setInterval(() => {
      seconds.textContent = `${Math.round((Date.now() - began) / 1000)} s`;
    }, 1000);
  }

  function onClick(event) {
    const opener = event.target.closest("[data-opens]");
    if (opener) document.getElementById(opener.dataset.opens)?.showModal();
    const closer = event.target.closest("[data-closes]");
    if (closer) closer.closest("dialog")?.close();
    const copier = event.target.closest("[data-copies]");
    if (copier) copy(copier);
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  }

  async function copy(button) {
    const source = document.querySelector(button.dataset.copies);
    await navigator.clipboard.writeText(source.value ?? source.textContent.trim());
    say(words.copied, "success");
  }

  function onKey(event) {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  }

  // Moments come in UTC; show them in the reader's own zone, in the order that sorts.
  const two = (number) => String(number).padStart(2, "0");
  function momentText(when, form) {
    const date = `${when.getFullYear()}-${two(when.getMonth() + 1)}-${two(when.getDate())}`;
    const time = `${two(when.getHours())}:${two(when.getMinutes())}`;
    return { date, time, datetime: `${date} ${time}` }[form];
  }
  function showMoments(root) {
    for (const node of root.querySelectorAll("time[data-form]")) {
      const when = new Date(node.dateTime);
      node.textContent = momentText(when, node.dataset.form);
      node.title = when.toLocaleString(document.documentElement.lang, { dateStyle: "full", timeStyle: "long" });
    }
  }

  // In a narrow window the tabs scroll: the current one is brought into view, without moving the page.
  function showCurrentTab() {
    const tabs = document.querySelector(".project-nav ul");
    const current = tabs?.querySelector("[aria-current]");
    if (current) tabs.scrollLeft = current.offsetLeft - tabs.offsetLeft - (tabs.clientWidth - current.offsetWidth) / 2;
  }

  showMoments(document);
  showCurrentTab();
  document.addEventListener("htmx:load", (event) => showMoments(event.detail.elt));
  document.addEventListener("submit", sendOnce);
  document.addEventListener("click", onClick);
  document.addEventListener("keydown", onKey);
  document.addEventListener("htmx:sendError", () => say(words.offline, "error"));
  document.addEventListener("htmx:responseError", () => say(words.problem, "error"));
  // Coming back by the browser's back button finds the form as it was, ready to be sent again.
  window.addEventListener("pageshow", () => {
    window.clearInterval(sendingClock);
    for (const form of document.querySelectorAll("form[data-sending]")) delete form.dataset.sending;
  });

  window.plackett = { say, csrfToken, words, momentText };
})();

// Reading answers: side by side or stacked, as this person likes it everywhere, and what differs between two of them.
(() => {
  "use strict";
  const { csrfToken, differences } = window.plackett;
  const { form, isWriting, usesSingleKeys } = window.plackett.task;

  // --- Side by side or stacked ----------------------------------------------------------------------------------------
  const switches = form.querySelector(".layout-switch");
  const answers = form.querySelector(".answers");

  function setLayout(layout) {
    answers.dataset.layout = layout;
    for (const button of switches.children) button.setAttribute("aria-pressed", String(button.dataset.layout === layout));
  }

  switches.addEventListener("click", (event) => {
    const layout = event.target.closest("[data-layout]")?.dataset.layout;
    if (!layout) return;
    setLayout(layout);
    const body = new URLSearchParams({ layout });
    const headers = { "X-CSRFToken": csrfToken() };
    fetch(switches.dataset.url, { method: "POST", headers, body, keepalive: true }).catch(() => {}); // offline: for now
  });
  switches.hidden = false;
  setLayout(answers.dataset.layout);

  // --- Differences ----------------------------------------------------------------------------------------------------
  const pane = document.getElementById("differences");
  const [first, second] = pane.querySelectorAll("select");
  const [said, difference] = [pane.querySelector("[role=status]"), pane.querySelector(".difference")];
  const cardAt = (position) => answers.querySelector(`[data-position="${position}"]`);

  function draw() {
    if (!pane.open) return;
    const [one, other] = [cardAt(first.value), cardAt(second.value)];
    const list = differences.between(one.dataset.source, other.dataset.source);
    difference.dataset.del = difference.dataset.word.replace("{letter}", one.dataset.letter);
    difference.dataset.ins = difference.dataset.word.replace("{letter}", other.dataset.letter);
    differences.write(difference, list);
    const n = list.filter(([kind]) => kind !== "same").length;
    said.textContent = n
      ? said.dataset.said
          .replace("{n}", n)
          .replace("{first}", one.dataset.letter)
          .replace("{second}", other.dataset.letter)
      : said.dataset.none;
  }

  pane.addEventListener("toggle", draw);
  for (const select of [first, second]) {
    select.addEventListener("input", (event) => event.stopPropagation()); // it is no part of the label
    select.addEventListener("change", (event) => {
      event.stopPropagation();
      draw();
    });
  }

  document.addEventListener("keydown", (event) => {
    if (!usesSingleKeys() || isWriting(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key.toLowerCase() !== "d" || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    pane.open = !pane.open;
    if (pane.open) first.focus();
  });
  pane.hidden = false;
})();

// A task's page: nothing written is lost (draft on the server, copy in the browser while it is not there), time at work
// is counted, the task stays in these hands while the page is open, and submitting survives a network that does not.
(() => {
  "use strict";
  const form = document.querySelector("form.task-form");
  if (!form) return;
  const { csrfToken, momentText } = window.plackett;
  const word = (name, values = {}) =>
    Object.entries(values).reduce(
      (text, [key, value]) => text.replace(`{${key}}`, value),
      form.dataset[`word${name[0].toUpperCase()}${name.slice(1)}`] ?? "",
    );
  const clock = (moment) => momentText(moment, "time");

  const IDLE_SECONDS = 60; // no key, pointer or scroll for so long is not work
  const AWAY_SECONDS = 600; // and after so long the task may go to somebody else
  const SAVE_AFTER_MS = 1000;
  const RETRY_MS = 5000;
  const localKey = `plackett:draft:${form.dataset.user}:${form.dataset.task}`;
  const state = document.getElementById("save-state");
  const problem = document.getElementById("send-problem");

  const post = (url, body, options = {}) =>
    fetch(url, {
      method: "POST",
      headers: { Accept: "application/json", "X-CSRFToken": csrfToken() },
      body,
      credentials: "same-origin",
      ...options,
    });

  function fields() {
    const data = new URLSearchParams(new FormData(form));
    data.delete("csrfmiddlewaretoken");
    return data;
  }

  // --- Time at work -------------------------------------------------------------------------------------------------
  const seconds = form.elements.active_seconds;
  let active = Number(seconds.value) || 0;
  let lastActivity = performance.now();
  let lastTick = performance.now();
  const idleSeconds = () => (performance.now() - lastActivity) / 1000;
  for (const kind of ["keydown", "pointerdown", "pointermove", "wheel", "scroll", "touchstart"]) {
    document.addEventListener(kind, () => (lastActivity = performance.now()), { passive: true, capture: true });
  }
  setInterval(() => {
    const now = performance.now();
    // A laptop that slept reports one long second: only its first part was work.
    if (!document.hidden && idleSeconds() < IDLE_SECONDS) active += Math.min((now - lastTick) / 1000, 2);
    lastTick = now;
    seconds.value = active.toFixed(1);
  }, 1000);

  // --- The draft ----------------------------------------------------------------------------------------------------
  let changes = 0; // counts what was changed, so that a save knows whether it is still the newest
  let saved = 0;
  let saving = false;
  let submitted = false;
  let timer = 0;
  let savedAt = form.dataset.savedAt ?? ""; // the server's word for its newest draft or label, as it wrote it

  function say(text, tone = "") {
    if (state.textContent !== text) state.textContent = text;
    state.dataset.tone = tone;
  }

  function keepLocally() {
    try {
      localStorage.setItem(localKey, JSON.stringify({ at: Date.now(), base: savedAt, fields: [...fields()] }));
    } catch {
      // Storage is full or forbidden: the server's draft is still there.
    }
  }

  function changed() {
    if (submitted) return;
    changes += 1;
    say(navigator.onLine ? word("unsaved") : word("offline"), navigator.onLine ? "" : "warn");
    keepLocally();
    clearTimeout(timer);
    timer = setTimeout(save, SAVE_AFTER_MS);
  }

  async function save(options = {}) {
    if (submitted || saving || saved === changes) return;
    saving = true;
    const wanted = changes;
    try {
      const response = await post(form.dataset.draftUrl, fields(), options);
      if (!response.ok || response.redirected) throw new Error(response.status === 401 ? "signedOut" : "refused");
      savedAt = (await response.json()).saved_at;
      saved = wanted;
      if (saved === changes) {
        localStorage.removeItem(localKey);
        say(word("saved", { time: clock(new Date(savedAt)) }), "good");
      }
    } catch (error) {
      if (!submitted) say(word(error instanceof TypeError ? "offline" : error.message), "warn");
    } finally {
      saving = false;
      if (saved !== changes && !submitted) {
        clearTimeout(timer);
        timer = setTimeout(save, saved === wanted ? SAVE_AFTER_MS : RETRY_MS);
      }
    }
  }

  function restore() {
    let copy;
    try {
      copy = JSON.parse(localStorage.getItem(localKey));
    } catch {
      return;
    }
    // A copy made on top of what the server still has is newer, whatever this machine's clock says.
    if (!copy || !(copy.base === savedAt || copy.at > (Date.parse(savedAt) || 0))) return;
    const before = fields().toString();
    const kept = new Set(["submission_id", "started_at", "active_seconds", "editing"]);
    for (const control of form.elements) {
      if (!control.name || kept.has(control.name) || control.name === "csrfmiddlewaretoken") continue;
      const values = copy.fields.filter(([name]) => name === control.name).map(([, value]) => value);
      if (control.type === "radio" || control.type === "checkbox") control.checked = values.includes(control.value);
      else if (values.length) control.value = values[0];
    }
    if (fields().toString() === before) {
      localStorage.removeItem(localKey);
      return;
    }
    say(word("restored", { time: clock(new Date(copy.at)) }), "warn");
    changes += 1;
    timer = setTimeout(save, SAVE_AFTER_MS);
  }

  form.addEventListener("input", changed);
  form.addEventListener("change", changed);
  window.addEventListener("online", () => save());
  window.addEventListener("offline", () => say(word("offline"), "warn"));
  document.addEventListener("visibilitychange", () => document.hidden && save({ keepalive: true }));
  window.addEventListener("pagehide", () => save({ keepalive: true }));
  restore();

  // --- Submitting ---------------------------------------------------------------------------------------------------
  let sending = false;
  let sentChanges = -1;

  function newSubmission() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  }

  function explain(text) {
    problem.textContent = text;
    problem.hidden = !text;
    if (text) problem.scrollIntoView({ block: "nearest" });
  }

  async function send(event) {
    event.preventDefault();
    if (sending || !form.dispatchEvent(new CustomEvent("plackett:submit", { cancelable: true }))) return;
    // Sent before without an answer, then changed: a submission of its own, or the server would take it for the old one.
    if (sentChanges >= 0 && sentChanges !== changes) form.elements.submission_id.value = newSubmission();
    sentChanges = changes;
    sending = true;
    keepLocally();
    explain("");
    const button = document.getElementById("submit");
    const label = button.textContent;
    button.textContent = word("sending");
    button.setAttribute("aria-disabled", "true");
    try {
      await answered(await post(form.action || location.href, fields()));
    } catch {
      explain(word("failed"));
    }
    sending = false;
    if (!submitted) {
      button.textContent = label;
      button.removeAttribute("aria-disabled");
    }
  }

  async function answered(response) {
    const isJson = response.headers.get("Content-Type")?.startsWith("application/json");
    const body = isJson ? await response.json() : {};
    if (response.ok && body.next) {
      submitted = true;
      clearTimeout(timer);
      localStorage.removeItem(localKey);
      location.assign(body.next);
    } else if (response.status === 401) {
      explain(word("signedOut"));
    } else {
      explain(body.problem ?? word("error"));
      if (body.fields) document.getElementsByName(Object.keys(body.fields)[0])[0]?.focus();
    }
  }

  form.addEventListener("submit", send);

  // Skipping throws the draft's copy away too.
  document.querySelector("#skip form")?.addEventListener("submit", () => {
    submitted = true;
    localStorage.removeItem(localKey);
  });

  // --- The lease ----------------------------------------------------------------------------------------------------
  async function beat() {
    if (submitted || idleSeconds() > AWAY_SECONDS) return;
    try {
      const response = await post(form.dataset.heartbeatUrl, new URLSearchParams());
      if (response.status === 409 || response.ok) document.getElementById("lease-lost").hidden = response.ok;
    } catch {
      // Offline: the draft's state says so.
    }
  }
  if (form.dataset.heartbeatUrl) setInterval(beat, Number(form.dataset.heartbeatSeconds) * 1000);

  // A page from the browser's memory may be older than the task: ask again.
  window.addEventListener("pageshow", (event) => event.persisted && location.reload());

  // --- The writing box ----------------------------------------------------------------------------------------------
  const box = form.querySelector("textarea[data-grows]");
  if (box) {
    const count = document.getElementById("word-count");
    const segmenter = window.Intl?.Segmenter && new Intl.Segmenter(document.documentElement.lang, { granularity: "word" });
    const words = (text) =>
      segmenter
        ? [...segmenter.segment(text)].filter((part) => part.isWordLike).length
        : text.split(/\s+/).filter(Boolean).length;
    const grow = () => {
      box.style.height = "auto";
      box.style.height = `${box.scrollHeight + 4}px`;
      const n = words(box.value);
      count.textContent = n === 1 ? count.dataset.one : count.dataset.many.replace("{n}", n);
    };
    box.addEventListener("input", grow);
    window.addEventListener("resize", grow);
    grow();
  }

  // --- Keys ---------------------------------------------------------------------------------------------------------
  const singleKeys = document.getElementById("single-keys");
  singleKeys.checked = localStorage.getItem("plackett:single-keys") !== "no";
  singleKeys.addEventListener("change", () =>
    localStorage.setItem("plackett:single-keys", singleKeys.checked ? "yes" : "no"),
  );
  const isWriting = (target) =>
    target.closest("textarea, select, [contenteditable], input:not([type=radio], [type=checkbox])");

  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !document.querySelector("dialog[open]")) {
      event.preventDefault();
      form.requestSubmit(document.getElementById("submit"));
    } else if (event.key === "?" && singleKeys.checked && !isWriting(event.target)) {
      event.preventDefault();
      document.getElementById("keys").showModal();
    }
  });

  window.plackett.task = { form, word, changed, isWriting, usesSingleKeys: () => singleKeys.checked };
})();

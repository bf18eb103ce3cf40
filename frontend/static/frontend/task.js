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
  const SAVE_AFTER_MS = 1000; // of rest,
  const SAVE_AT_LEAST_MS = 2000; // and while somebody types on: nothing written is older than that and not on its way
  const RETRY_MS = 5000;
  const ANSWER_MS = 15000; // a server that says nothing for so long is not reached
  const KEPT_ALIVE = 60_000;
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
  const copies = window.plackett.copies.store(form.dataset.task, form.dataset.draftKey, { url: location.pathname });
  const skew = (Date.parse(form.dataset.now) || Date.now()) - Date.now(); // the server's clock, which copies are dated by
  const now = () => Date.now() + skew;
  const live = document.getElementById("save-live");
  let changes = 0; // counts what was changed, so that a save knows whether it is still the newest
  let saved = 0;
  let saving = false;
  let submitted = false;
  let timer = 0;
  let inFlight = Promise.resolve();
  let unsavedSince = 0;
  let retryAt = 0;
  let sentChanges = -1; // the change at which it was sent to be submitted
  let savedAt = form.dataset.savedAt ?? ""; // the server's word for its newest draft or label, as it wrote it
  let isKept = true; // in this browser
  const isSent = () => sentChanges >= 0 && sentChanges === changes;

  // What the server tells windows apart by: it stays through reloads, so that a window never meets itself.
  function tab() {
    try {
      if (!sessionStorage.getItem("plackett:tab")) sessionStorage.setItem("plackett:tab", newSubmission());
      return sessionStorage.getItem("plackett:tab");
    } catch {
      return form.elements.submission_id.value;
    }
  }

  // The state stands in sight at all times; read aloud is only that saving fails, and that it works again.
  let wasSaid = ""; // the last tone that was read aloud
  function say(text, tone = "") {
    if (state.textContent !== text) state.textContent = text;
    state.dataset.tone = tone;
    if (tone && tone !== wasSaid) live.textContent = text;
    wasSaid = tone || wasSaid;
  }

  function sayUnsaved(why) {
    say(word(isKept ? why : "nowhere"), "warn");
  }

  async function keepLocally() {
    const sent = isSent() ? form.elements.submission_id.value : "";
    isKept = await copies.keep({ at: now(), base: savedAt, fields: [...fields()], sent });
  }

  function changed() {
    if (submitted) return;
    changes += 1;
    unsavedSince ||= Date.now();
    if (navigator.onLine && state.dataset.tone !== "warn") say(word("saving"));
    keepLocally().then(() => navigator.onLine || sayUnsaved("offline"));
    saveSoon();
  }

  function saveSoon() {
    clearTimeout(timer);
    const due = Math.min(Date.now() + SAVE_AFTER_MS, unsavedSince + SAVE_AT_LEAST_MS);
    timer = setTimeout(save, Math.max(0, Math.max(due, retryAt) - Date.now()));
  }

  function save(options = {}) {
    if (!submitted && !saving && saved !== changes) inFlight = sendDraft(options);
    return inFlight;
  }

  async function sendDraft(options) {
    saving = true;
    const wanted = changes;
    const startedAt = Date.now();
    try {
      const body = fields();
      body.set("tab", tab());
      body.set("base", savedAt);
      // Browsers refuse to let more than 64 KiB outlive a page; a longer draft goes while the page is there.
      const keepalive = Boolean(options.keepalive) && body.toString().length < KEPT_ALIVE;
      const response = await post(form.dataset.draftUrl, body, { signal: AbortSignal.timeout(ANSWER_MS), keepalive });
      if (response.status === 409) {
        await meetAnother(await response.json());
        return;
      }
      if (!response.ok || response.redirected) throw new Error(response.status === 401 ? "signedOutDraft" : "refused");
      savedAt = (await response.json()).saved_at;
      saved = wanted;
      retryAt = 0;
      unsavedSince = saved === changes ? 0 : startedAt;
      if (saved === changes) {
        if (!isSent()) copies.drop();
        say(word("saved", { time: clock(new Date(savedAt)) }), "good");
      }
    } catch (error) {
      retryAt = Date.now() + RETRY_MS;
      if (!submitted) sayUnsaved(["signedOutDraft", "refused"].includes(error.message) ? error.message : "offline");
    } finally {
      saving = false;
      if (saved !== changes && !submitted) saveSoon();
    }
  }

  // --- Two versions of it: one in the form, one put aside; neither goes before its writer says so ----------------------
  const versions = document.getElementById("versions");
  const NOT_WRITTEN = new Set(["submission_id", "started_at", "active_seconds", "editing", "csrfmiddlewaretoken", "touched"]);
  const written = (pairs) =>
    JSON.stringify(pairs.filter(([name, value]) => value !== "" && !NOT_WRITTEN.has(name)).sort());

  function fill(pairs) {
    for (const control of form.elements) {
      if (!control.name || (NOT_WRITTEN.has(control.name) && control.name !== "touched")) continue;
      const values = pairs.filter(([name]) => name === control.name).map(([, value]) => value);
      if (control.type === "radio" || control.type === "checkbox") control.checked = values.includes(control.value);
      else if (values.length) control.value = values[0];
    }
    form.dispatchEvent(new CustomEvent("plackett:filled"));
  }

  function showVersions(aside, shown) {
    const name = (one, other) =>
      word(one.isHere ? "versionHere" : "versionThere", { time: momentText(new Date(one.at), "datetime") }) +
      (one.at > other.at ? word("newer") : "");
    const names = { shown: name(shown, aside), aside: name(aside, shown) };
    versions.querySelector("[data-said]").textContent = word("versions", names);
    const text = aside.fields.find(([field]) => field === "text")?.[1] ?? "";
    versions.querySelector("details").hidden = !text;
    versions.querySelector("pre").textContent = text;
    versions.hidden = false;
    versions.shown = shown;
  }

  async function putAside(aside, shown) {
    await copies.keep(aside, "aside");
    showVersions(aside, shown);
    live.textContent = versions.querySelector("[data-said]").textContent;
  }

  async function meetAnother(answer) {
    const pairs = Object.entries(answer.draft).flatMap(([name, value]) => [value].flat().map((one) => [name, String(one)]));
    savedAt = answer.saved_at;
    if (written(pairs) === written([...fields()])) return;
    const shown = { at: now(), isHere: true };
    await putAside({ at: Date.parse(savedAt), isHere: false, fields: pairs }, shown);
  }

  versions.addEventListener("click", async (event) => {
    const choice = event.target.closest("[data-version]")?.dataset.version;
    const aside = choice === "swap" && (await copies.read("aside"));
    if (choice === "keep") copies.drop("aside");
    if (choice === "keep" || (choice && !aside)) versions.hidden = true;
    if (!aside) return;
    const shown = { ...versions.shown, fields: [...fields()] };
    fill(aside.fields);
    changed();
    await putAside(shown, aside);
    versions.querySelector("button").focus();
  });

  async function restore() {
    const [copy, older] = [await copies.read(), await copies.read("aside")];
    const server = { at: Date.parse(savedAt) || now(), isHere: false };
    if (older && written(older.fields) !== written([...fields()])) showVersions(older, server);
    else if (older) copies.drop("aside");
    if (!copy) return;
    const isSame = written(copy.fields) === written([...fields()]);
    const isBased = (Date.parse(copy.base) || 0) === (Date.parse(savedAt) || 0);
    if (isSame && !(copy.sent && !form.elements.editing)) {
      copies.drop();
    } else if (isSame || isBased) {
      // A copy made on top of what the server still has is newer, whatever this machine's clock says.
      fill(copy.fields);
      if (!isSame) say(word("restored", { time: clock(new Date(copy.at)) }), "warn");
      changes += 1;
      if (copy.sent) offerSending(copy);
      unsavedSince ||= Date.now();
      saveSoon();
    } else {
      copies.drop();
      await putAside({ at: copy.at, isHere: true, fields: copy.fields }, server);
    }
  }

  // Submitted while the server was away: the same submission again, which makes one label however often it is sent.
  function offerSending(copy) {
    form.elements.submission_id.value = copy.sent;
    sentChanges = changes;
    const offer = document.getElementById("unsent");
    offer.querySelector("[data-said]").textContent = word("unsent", { time: momentText(new Date(copy.at), "datetime") });
    offer.hidden = false;
  }

  form.addEventListener("input", changed);
  form.addEventListener("change", changed);
  window.addEventListener("online", () => {
    retryAt = 0;
    save();
  });
  window.addEventListener("offline", () => saved !== changes && sayUnsaved("offline"));
  document.addEventListener("visibilitychange", () => document.hidden && save({ keepalive: true }));
  window.addEventListener("pagehide", () => save({ keepalive: true }));
  window.addEventListener("beforeunload", (event) => {
    if (!isKept && saved !== changes && !submitted) event.preventDefault();
  });
  window.plackett.flush = async () => {
    await save();
    await save(); // what was changed while the first was on its way
  };

  // --- Submitting ---------------------------------------------------------------------------------------------------
  let sending = false;

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
    document.getElementById("unsent").hidden = true;
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
      forget();
      location.assign(body.next);
    } else if (response.status === 401) {
      explain(word("signedOut"));
    } else {
      explain(body.problem ?? word("error"));
      if (body.fields) document.getElementsByName(Object.keys(body.fields)[0])[0]?.focus();
    }
  }

  function forget() {
    copies.drop();
    copies.drop("aside");
  }

  form.addEventListener("submit", send);

  // Skipping throws the draft's copy away too.
  document.querySelector("#skip form")?.addEventListener("submit", () => {
    submitted = true;
    forget();
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
    form.addEventListener("plackett:filled", grow);
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
  restore();
})();

// Copies of what is written, kept in this browser while the server does not have it. Each belongs to one account and one
// task and is encrypted with a key that the server gives to that account alone, so that whoever signs in next on this
// browser can't read it, and the account finds it again. Where the browser has no cryptography (plain http on another
// machine) a copy is kept readable, and goes at sign-out and as soon as another account signs in.
(() => {
  "use strict";
  const PREFIX = "plackett:draft:";
  const KEPT_DAYS = 30;
  const account = document.body.dataset.account ?? "";

  function all() {
    const found = [];
    for (let index = 0; index < localStorage.length; index += 1) {
      const name = localStorage.key(index);
      if (!name.startsWith(PREFIX)) continue;
      let record = {};
      try {
        record = JSON.parse(localStorage.getItem(name)) ?? {};
      } catch {
        // Not ours to read; it goes by its age, which is unknown, so now.
      }
      found.push({ name, owner: name.slice(PREFIX.length).split(":")[0], record });
    }
    return found;
  }

  const isReadable = ({ record }) => !record.data;
  const mine = () => all().filter(({ owner }) => owner === account);

  function clean() {
    const oldest = Date.now() - KEPT_DAYS * 86400e3;
    for (const copy of all()) {
      const isAnothers = account && copy.owner !== account;
      if (!(copy.record.at > oldest) || (isAnothers && isReadable(copy))) localStorage.removeItem(copy.name);
    }
  }

  // --- One task's copies ----------------------------------------------------------------------------------------------
  const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  function textOf(bytes) {
    let text = "";
    for (const byte of bytes) text += String.fromCharCode(byte);
    return btoa(text);
  }

  // `about` is kept in the clear: when, and the address of the task. Nothing in it is what somebody wrote.
  function store(task, keyText, about) {
    const name = (slot) => `${PREFIX}${account}:${task}${slot ? `:${slot}` : ""}`;
    const key = window.crypto?.subtle
      ? window.crypto.subtle.importKey("raw", bytesOf(keyText), "AES-GCM", false, ["encrypt", "decrypt"])
      : null;
    const newest = {}; // slot -> the last change asked for; an older one that was encrypted later is not written

    async function sealed(value) {
      const iv = window.crypto.getRandomValues(new Uint8Array(12));
      const bytes = new TextEncoder().encode(JSON.stringify(value));
      const data = await window.crypto.subtle.encrypt({ name: "AES-GCM", iv }, await key, bytes);
      return { iv: textOf(iv), data: textOf(new Uint8Array(data)) };
    }

    async function opened(record) {
      if (!record.data) return record.plain ?? (record.fields ? record : null); // `fields`: as an earlier version kept it
      if (!key) return null;
      const iv = bytesOf(record.iv);
      const bytes = await window.crypto.subtle.decrypt({ name: "AES-GCM", iv }, await key, bytesOf(record.data));
      return JSON.parse(new TextDecoder().decode(bytes));
    }

    // Returns whether it is kept: storage may be full or forbidden. It is written at once, for a page that is gone the next
    // moment, and sealed a moment later.
    async function keep(value, slot = "") {
      const turn = (newest[slot] = (newest[slot] ?? 0) + 1);
      const record = { at: Date.now(), ...about };
      try {
        localStorage.setItem(name(slot), JSON.stringify({ ...record, plain: value }));
        const hidden = key && (await sealed(value));
        if (hidden && turn === newest[slot]) localStorage.setItem(name(slot), JSON.stringify({ ...record, ...hidden }));
        return true;
      } catch {
        return false;
      }
    }

    async function read(slot = "") {
      try {
        const record = JSON.parse(localStorage.getItem(name(slot)));
        return record && (await opened(record));
      } catch {
        return null; // of another key, or broken
      }
    }

    function drop(slot = "") {
      newest[slot] = (newest[slot] ?? 0) + 1;
      localStorage.removeItem(name(slot));
    }

    return { keep, read, drop };
  }

  // --- Signing out ----------------------------------------------------------------------------------------------------
  // First what is open is saved; of what could not be saved, nothing readable stays.
  async function signOut(event) {
    const form = event.target.closest("form[data-signs-out]");
    if (!form || event.defaultPrevented) return;
    event.preventDefault();
    await window.plackett.flush?.();
    const left = mine().filter(isReadable);
    if (left.length && !window.confirm(form.dataset.wordLeft)) {
      delete form.dataset.sending;
      return;
    }
    for (const { name } of left) localStorage.removeItem(name);
    form.submit();
  }

  // --- The start page: what is still only here --------------------------------------------------------------------------
  function list() {
    const box = document.getElementById("kept-here");
    const found = new Map(mine().map(({ record }) => [record.url, record]));
    const here = [...found.values()].filter(({ url }) => url?.startsWith(box.dataset.below));
    for (const { url, at } of here) {
      const link = document.createElement("a");
      link.href = url;
      link.textContent = box.dataset.word.replace("{time}", window.plackett.momentText(new Date(at), "datetime"));
      const line = document.createElement("li");
      line.append(link);
      box.querySelector("ul").append(line);
    }
    box.hidden = !here.length;
  }

  try {
    clean();
    if (document.getElementById("kept-here")) list();
  } catch {
    // Storage is forbidden: there are no copies.
  }
  document.addEventListener("submit", signOut);
  window.plackett.copies = { store };
})();

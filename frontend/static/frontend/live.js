// Live fragments: what has not changed is not put in again, so that focus, selection and scrolling stay where they were.
(() => {
  "use strict";

  document.addEventListener("htmx:beforeSwap", (event) => {
    const { target, xhr } = event.detail;
    if (!target.dataset.etag || !event.detail.shouldSwap) return;
    const fresh = new DOMParser().parseFromString(xhr.responseText, "text/html").getElementById(target.id);
    const same = fresh && fresh.dataset.etag === target.dataset.etag && fresh.hasAttribute("hx-trigger") === target.hasAttribute("hx-trigger");
    if (same) event.detail.shouldSwap = false;
  });

  // A log is read from its end.
  function scrollLogs() {
    for (const log of document.querySelectorAll(".log")) log.scrollTop = log.scrollHeight;
  }
  document.addEventListener("htmx:afterSettle", scrollLogs);
  scrollLogs();
})();

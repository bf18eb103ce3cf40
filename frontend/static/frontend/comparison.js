// Comparing two answers: 1, 2 and 3 choose, as the order of the choices on the page says.
(() => {
  "use strict";
  const { form, isWriting, usesSingleKeys } = window.plackett.task;
  const choices = [...form.querySelectorAll(".comparison input")];

  document.addEventListener("keydown", (event) => {
    if (!usesSingleKeys() || isWriting(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    const choice = choices[Number(event.key) - 1];
    if (!choice || document.querySelector("dialog[open]")) return;
    choice.checked = true;
    choice.focus();
    choice.dispatchEvent(new Event("change", { bubbles: true }));
    event.preventDefault();
  });
})();

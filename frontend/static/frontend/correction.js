// Correcting an answer: what is taken out and what is put in, word by word, drawn while one writes.
(() => {
  "use strict";
  const { between, write } = window.plackett.differences;
  const pane = document.getElementById("changes");
  const box = document.getElementById("text");
  const difference = pane.querySelector(".difference");

  function draw() {
    const list = between(pane.dataset.original, box.value);
    if (list.some(([kind]) => kind !== "same")) write(difference, list);
    else difference.textContent = pane.dataset.none;
  }

  let asked = 0;
  box.addEventListener("input", () => {
    cancelAnimationFrame(asked);
    asked = requestAnimationFrame(draw);
  });
  window.plackett.task.form.addEventListener("plackett:filled", draw);
  pane.hidden = false;
  draw();
})();

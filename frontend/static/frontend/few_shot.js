// A prompt with examples: those that are not written yet come one by one.
(() => {
  "use strict";
  const { form } = window.plackett.task;
  const pairs = [...form.querySelectorAll(".pair")];
  const more = document.getElementById("more-pairs");
  const LEAST = 2;
  let shown = LEAST;

  const isWritten = (pair) => [...pair.querySelectorAll("textarea")].some((box) => box.value.trim());

  function draw() {
    shown = Math.max(shown, 1 + pairs.findLastIndex(isWritten));
    pairs.forEach((pair, index) => (pair.hidden = index >= shown));
    more.hidden = shown >= pairs.length;
  }

  more.addEventListener("click", () => {
    shown += 1;
    draw();
    pairs[shown - 1].querySelector("textarea").focus();
  });
  form.addEventListener("plackett:filled", draw);
  draw();
})();

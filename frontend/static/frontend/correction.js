// Correcting an answer: what is taken out and what is put in, word by word, drawn while one writes.
(() => {
  "use strict";
  const pane = document.getElementById("changes");
  const box = document.getElementById("text");
  const difference = pane.querySelector(".difference");
  const MOST = 4_000_000; // cells of the table; beyond that the middle is shown as one change
  // A word with the space after it; each Chinese, Japanese or Korean character is a word of its own.
  const WORD = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]|[^\s\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]+\s*|\s+/gu;
  const words = (text) => text.replaceAll("\r\n", "\n").match(WORD) ?? [];
  const before = words(pane.dataset.original);

  // The longest common subsequence, after what both begin and end with is set aside: [[kind, words], ...].
  function parts(from, to) {
    let start = 0;
    while (start < from.length && start < to.length && from[start] === to[start]) start += 1;
    let end = 0;
    while (end < from.length - start && end < to.length - start && from.at(-1 - end) === to.at(-1 - end)) end += 1;
    const [old, fresh] = [from.slice(start, from.length - end), to.slice(start, to.length - end)];
    return [["same", from.slice(0, start)], ...middle(old, fresh), ["same", end ? from.slice(-end) : []]];
  }

  function middle(old, fresh) {
    if (old.length * fresh.length > MOST) return [["del", old], ["ins", fresh]];
    const width = fresh.length + 1;
    const longest = new Uint16Array((old.length + 1) * width);
    for (let i = old.length - 1; i >= 0; i -= 1) {
      for (let j = fresh.length - 1; j >= 0; j -= 1) {
        longest[i * width + j] =
          old[i] === fresh[j]
            ? longest[(i + 1) * width + j + 1] + 1
            : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
      }
    }
    const found = [];
    let [i, j] = [0, 0];
    while (i < old.length || j < fresh.length) {
      if (i < old.length && j < fresh.length && old[i] === fresh[j]) {
        found.push(["same", [old[i]]]);
        i += 1;
        j += 1;
      } else if (j === fresh.length || (i < old.length && longest[(i + 1) * width + j] >= longest[i * width + j + 1])) {
        found.push(["del", [old[i]]]);
        i += 1;
      } else {
        found.push(["ins", [fresh[j]]]);
        j += 1;
      }
    }
    return found;
  }

  function joined(list) {
    const merged = [];
    for (const [kind, some] of list) {
      if (!some.length) continue;
      if (merged.at(-1)?.[0] === kind) merged.at(-1)[1] += some.join("");
      else merged.push([kind, some.join("")]);
    }
    return merged;
  }

  function draw() {
    const list = joined(parts(before, words(box.value)));
    if (!list.some(([kind]) => kind !== "same")) {
      difference.textContent = pane.dataset.none;
      return;
    }
    difference.replaceChildren(
      ...list.map(([kind, text]) =>
        kind === "same" ? document.createTextNode(text) : Object.assign(document.createElement(kind), { textContent: text }),
      ),
    );
  }

  let asked = 0;
  box.addEventListener("input", () => {
    cancelAnimationFrame(asked);
    asked = requestAnimationFrame(draw);
  });
  pane.hidden = false;
  draw();
})();

// What differs between two texts, word by word: for corrections while they are written, and between two answers.
(() => {
  "use strict";
  const MOST = 16_000_000; // cells of the table; beyond that the middle is shown as one change
  // A word with the space after it; each Chinese, Japanese or Korean character is a word of its own.
  const WORD = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]|[^\s\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]+\s*|\s+/gu;
  const words = (text) => text.replaceAll("\r\n", "\n").match(WORD) ?? [];

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

  // Returns [[kind, text], ...], kind being same, del (in the first alone) or ins (in the second alone).
  const between = (before, after) => joined(parts(words(before), words(after)));

  // Writes them into a node. A reader who does not see colours or lines hears what the data-word-... of the node say.
  function write(node, list) {
    node.replaceChildren(
      ...list.map(([kind, text]) => {
        if (kind === "same") return document.createTextNode(text);
        const part = Object.assign(document.createElement(kind), { textContent: text });
        part.dataset.says = node.dataset[kind] ?? "";
        return part;
      }),
    );
  }

  window.plackett.differences = { between, write };
})();

// Ranking: a board of rank rows over the plain form's selects. An answer moves by drag (into a gap for a rank of its own,
// onto a row for a tie), by buttons, and by number keys. The selects stay the truth that is submitted.
(() => {
  "use strict";
  const { form, word, changed, isWriting, usesSingleKeys } = window.plackett.task;
  const board = document.getElementById("board");
  const rowTemplate = document.getElementById("row-template");
  const announcer = document.getElementById("announcer");
  const cards = [...form.querySelectorAll(".answer")];
  const answers = cards.map((card) => ({
    position: Number(card.dataset.position),
    letter: card.dataset.letter,
    card,
    select: card.querySelector(".rank-select select"),
  }));
  const answerAt = (position) => answers[Number(position)];
  const allowsTies = form.dataset.ties !== "no";
  const allowsPartial = form.dataset.partial === "yes";
  const rankOf = (answer) => Number(answer.select.value);

  // --- The order ----------------------------------------------------------------------------------------------------
  // Tiers, best first: [[B], [A, C], [D]] means A and C are tied. What is not ranked is in none.
  const unranked = () => answers.filter((answer) => !rankOf(answer));
  function tiers() {
    const ranked = answers.filter(rankOf);
    const byRank = Map.groupBy
      ? Map.groupBy(ranked, rankOf)
      : ranked.reduce((map, answer) => map.set(rankOf(answer), [...(map.get(rankOf(answer)) ?? []), answer]), new Map());
    return [...byRank.keys()].sort((a, b) => a - b).map((rank) => byRank.get(rank));
  }

  function setTiers(order) {
    const kept = allowsTies ? order : order.flatMap((tier) => tier.map((answer) => [answer]));
    for (const answer of answers) answer.select.value = "";
    kept.filter((tier) => tier.length).forEach((tier, index) => {
      for (const answer of tier) answer.select.value = String(index + 1);
    });
  }

  // A rank by its number: shared with whoever has it, or, without ties, taken from whoever has it.
  function giveRank(answer, rank) {
    if (allowsTies) {
      answer.select.value = String(rank);
      return;
    }
    const rest = without(tiers(), answer).filter((tier) => tier.length);
    setTiers([...rest.slice(0, rank - 1), [answer], ...rest.slice(rank - 1)]);
  }

  const without = (order, answer) => order.map((tier) => tier.filter((other) => other !== answer));

  function moved(order, answer, direction) {
    const at = order.findIndex((tier) => tier.includes(answer));
    const rest = without(order, answer);
    if (at < 0) return direction === "up" ? [...rest, [answer]] : order; // from the bottom it becomes the last
    const alone = order[at].length === 1;
    // Out of a tie, an answer takes a rank of its own beside it; alone, it changes places with the next rank.
    const gap = direction === "up" ? (alone ? at - 1 : at) : alone ? at + 2 : at + 1;
    if (gap < 0 || gap > rest.length) return order;
    return [...rest.slice(0, gap), [answer], ...rest.slice(gap)].filter((tier) => tier.length);
  }

  function tied(order, answer) {
    const at = order.findIndex((tier) => tier.includes(answer));
    if (at === 0 || !order.length) return order;
    const rest = without(order, answer);
    rest[at < 0 ? rest.length - 1 : at - 1].push(answer);
    return rest.filter((tier) => tier.length);
  }

  // --- Drawing ------------------------------------------------------------------------------------------------------
  function row(answer, index, order) {
    const node = rowTemplate.content.firstElementChild.cloneNode(true);
    node.dataset.position = answer.position;
    const name = node.querySelector(".board-name");
    name.querySelector("strong").textContent = answer.letter;
    name.querySelector(".snippet").textContent = plain(answer.card.dataset.source).slice(0, 120);
    const chip = rankOf(answer) ? "chip" : "chipUnranked";
    name.setAttribute("aria-label", word(chip, { letter: answer.letter, rank: rankOf(answer) }));
    name.setAttribute("aria-describedby", "board-help");
    const rating = ratingOf(answer);
    node.querySelector(".board-rating").textContent = rating === null ? "–" : `${rating}/${form.dataset.best}`;
    node.querySelector(".board-rating").title = rating !== null ? word("rating", { rating }) : word("unrated");
    const last = order.length - 1;
    const shelved = index < 0;
    const alone = !shelved && order[index].length === 1;
    const idle = {
      up: index === 0 && alone,
      down: shelved || (index === last && alone),
      tie: index === 0 || !order.length,
      unrank: shelved,
    };
    for (const button of node.querySelectorAll("[data-move]")) {
      const move = button.dataset.move;
      button.setAttribute("aria-label", word(move, { letter: answer.letter }));
      button.title = word(move, { letter: answer.letter });
      button.disabled = idle[move];
    }
    return node;
  }

  // The first words of an answer, without the signs of its markup.
  const plain = (source) => source.replace(/\*\*|`+|^#+\s+|^>\s+/gm, "").trim();

  function list(className, rank) {
    const node = document.createElement("div");
    node.className = className;
    if (rank) {
      node.dataset.rank = rank;
      node.setAttribute("role", "group");
      node.setAttribute("aria-label", word("rank", { rank }));
    }
    return node;
  }

  function draw() {
    const order = tiers();
    const nodes = [list("board-gap")];
    order.forEach((tier, index) => {
      const group = list(tier.length > 1 ? "board-tier board-tie" : "board-tier", rankOf(tier[0]));
      group.append(...tier.map((answer) => row(answer, index, order)));
      nodes.push(group, list("board-gap"));
    });
    if (allowsPartial) nodes.push(shelf(order));
    // To Sortable a list that is not in the page any more is as large as the window: an answer would be dropped into it.
    for (const sortable of sortables.splice(0)) sortable.destroy();
    board.replaceChildren(...nodes);
    sortables.push(...nodes.map(makeSortable));
    drawContradictions(order);
    askRatings();
  }

  // Below the ranking: what is left unranked. It is there while it is empty, to drop something into.
  function shelf(order) {
    const node = list("board-shelf");
    node.setAttribute("role", "group");
    node.setAttribute("aria-label", word("shelf"));
    node.dataset.words = word("shelf");
    node.append(...unranked().map((answer) => row(answer, -1, order)));
    return node;
  }

  // What is ranked must be rated; and two at least are ranked, or the browser says so where the first rank is missing.
  function askRatings() {
    if (!allowsPartial) return;
    for (const answer of answers) {
      for (const radio of answer.card.querySelectorAll(".scale input")) radio.required = Boolean(rankOf(answer));
    }
  }

  const sortables = [];

  function makeSortable(node) {
    return new window.Sortable(node, {
      group: "ranks",
      handle: ".grip, .board-name",
      draggable: ".board-row",
      filter: ".board-buttons",
      preventOnFilter: false,
      emptyInsertThreshold: 10,
      forceFallback: true, // the same by mouse, pen and touch; the native kind differs from browser to browser
      fallbackOnBody: true,
      fallbackTolerance: 4,
      animation: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 120,
      delay: 120,
      delayOnTouchOnly: true,
      ghostClass: "board-ghost",
      onStart: () => board.classList.add("board-dragging"),
      onEnd: dropped,
    });
  }

  function dropped(event) {
    board.classList.remove("board-dragging");
    if (board.querySelectorAll(".board-row").length < answers.length) {
      draw(); // whatever became of the row, the answer is where it was
      return;
    }
    const order = [...board.children].filter((node) => !node.matches(".board-shelf")).map((node) =>
      [...node.querySelectorAll(".board-row")].map((item) => answerAt(item.dataset.position)),
    );
    apply(() => setTiers(order), answerAt(event.item.dataset.position));
  }

  // --- Changing -----------------------------------------------------------------------------------------------------
  function apply(change, answer) {
    change();
    form.elements.touched.value = "yes";
    draw();
    board.querySelector(`[data-position="${answer.position}"] .board-name`).focus({ preventScroll: true });
    announce(answer);
    changed();
  }

  function announce(answer) {
    if (!rankOf(answer)) {
      announcer.textContent = word("unranked", { letter: answer.letter });
      return;
    }
    const others = answers.filter((other) => other !== answer && rankOf(other) === rankOf(answer));
    const values = { letter: answer.letter, rank: rankOf(answer), ranks: answers.length };
    announcer.textContent = others.length
      ? word("tied", { ...values, others: others.map((other) => other.letter).join(", ") })
      : word("moved", values);
  }

  const MOVES = {
    up: (answer) => setTiers(moved(tiers(), answer, "up")),
    down: (answer) => setTiers(moved(tiers(), answer, "down")),
    tie: (answer) => setTiers(tied(tiers(), answer)),
    unrank: (answer) => setTiers(without(tiers(), answer)),
  };

  board.addEventListener("click", (event) => {
    const item = event.target.closest(".board-row");
    if (!item) return;
    const answer = answerAt(item.dataset.position);
    const button = event.target.closest("[data-move]");
    if (button) apply(() => MOVES[button.dataset.move](answer), answer);
    else if (event.target.closest(".board-name")) show(answer);
  });

  board.addEventListener("keydown", (event) => {
    const item = event.target.closest(".board-row");
    if (!item || event.ctrlKey || event.metaKey) return;
    const answer = answerAt(item.dataset.position);
    const rank = Number(event.key);
    if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
      apply(() => MOVES[event.key === "ArrowUp" ? "up" : "down"](answer), answer);
    } else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      stepInBoard(item, event.key === "ArrowUp" ? -1 : 1);
    } else if (allowsPartial && ["0", "Delete", "Backspace"].includes(event.key)) {
      apply(() => MOVES.unrank(answer), answer);
    } else if (event.key === "=" && allowsTies) {
      apply(() => MOVES.tie(answer), answer);
    } else if (Number.isInteger(rank) && rank >= 1 && rank <= answers.length) {
      apply(() => giveRank(answer, rank), answer);
    } else return;
    event.preventDefault();
  });

  function stepInBoard(item, step) {
    const rows = [...board.querySelectorAll(".board-row")];
    rows[rows.indexOf(item) + step]?.querySelector(".board-name").focus();
  }

  function show(answer) {
    answer.card.scrollIntoView({ block: "center" });
    answer.card.focus({ preventScroll: true });
  }

  // --- Ratings, flags, contradictions ---------------------------------------------------------------------------------
  function ratingOf(answer) {
    const checked = answer.card.querySelector(".scale input:checked");
    return checked ? Number(checked.value) : null;
  }

  function drawContradictions(order) {
    const lines = [];
    order.forEach((tier, index) => {
      for (const better of tier) {
        for (const worse of order.slice(index + 1).flat()) {
          const [low, high] = [ratingOf(better), ratingOf(worse)];
          if (low !== null && high !== null && low < high) {
            lines.push(word("contradiction", { better: better.letter, worse: worse.letter, low, high }));
          }
        }
      }
    });
    const box = form.querySelector(".contradictions");
    box.hidden = !lines.length;
    box.replaceChildren(
      ...lines.map((line) => Object.assign(document.createElement("p"), { textContent: line })),
    );
  }

  function countFlags(card) {
    const flags = card.querySelectorAll(".flags input:checked").length;
    const count = card.querySelector(".flags-count"); // not there where the form asks no flags
    if (count) count.textContent = flags ? word("flags", { n: flags }) : word("noFlags");
  }

  form.addEventListener("change", (event) => {
    const card = event.target.closest(".answer");
    if (!card) return;
    countFlags(card);
    if (event.target.closest(".scale")) draw();
  });

  // A digit is a rating; 0 is 10 on a scale that goes so far and knows no 0.
  const radioOf = (card, key) =>
    card.querySelector(`.scale input[value="${CSS.escape(key)}"]`) ??
    (key === "0" ? card.querySelector('.scale input[value="10"]') : null);

  // A copy from the browser was put into the form.
  form.addEventListener("plackett:filled", () => {
    cards.forEach(countFlags);
    draw();
  });

  for (const { card, letter } of answers) {
    card.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || isWriting(event.target)) return;
      const radio = radioOf(card, event.key);
      if (radio) {
        radio.checked = true;
        radio.dispatchEvent(new Event("change", { bubbles: true }));
        announcer.textContent = word("rated", { letter, rating: radio.value });
      } else if (event.key.toLowerCase() === "f") {
        const flags = card.querySelector(".flags");
        if (!flags) return;
        flags.open = !flags.open;
        if (flags.open) flags.querySelector("input").focus();
      } else return;
      event.preventDefault();
    });
  }

  // --- Going about by keys --------------------------------------------------------------------------------------------
  document.addEventListener("keydown", (event) => {
    if (!usesSingleKeys() || isWriting(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]")) return;
    const key = event.key.toLowerCase();
    if (key === "n" || key === "p") stepThroughCards(key === "n" ? 1 : -1);
    else if (key === "r") board.querySelector(".board-name").focus();
    else return;
    event.preventDefault();
  });

  function stepThroughCards(step) {
    const at = cards.indexOf(document.activeElement?.closest(".answer"));
    const next = at < 0 ? (step > 0 ? 0 : cards.length - 1) : Math.min(cards.length - 1, Math.max(0, at + step));
    show(answers[next]);
  }

  // --- An order that nobody touched -----------------------------------------------------------------------------------
  const untouched = document.getElementById("untouched");
  let kept = false;
  form.addEventListener("plackett:submit", (event) => {
    if (answers.filter(rankOf).length < 2) {
      event.preventDefault();
      const problem = document.getElementById("send-problem");
      problem.textContent = word("two");
      problem.hidden = false;
      problem.scrollIntoView({ block: "nearest" });
      return;
    }
    if (form.elements.touched.value || kept) return;
    event.preventDefault();
    const names = tiers().map((tier) => tier.map((answer) => answer.letter).join(" = "));
    document.getElementById("untouched-order").textContent = names.join(" > ");
    untouched.showModal();
  });
  document.getElementById("keep-order").addEventListener("click", () => {
    kept = true;
    untouched.close();
    form.requestSubmit(document.getElementById("submit"));
  });

  // --- Begin ----------------------------------------------------------------------------------------------------------
  // An empty rank in what was touched before is an answer that was left unranked.
  const keepsEmpty = allowsPartial && form.elements.touched.value === "yes";
  const rankless = keepsEmpty ? [] : unranked();
  if (rankless.length) setTiers([...tiers(), ...rankless.map((answer) => [answer])]); // last, and tied with nobody
  for (const answer of answers) answer.select.closest(".rank-select").hidden = true;
  form.querySelector(".ranking-board").hidden = false;
  draw();
})();

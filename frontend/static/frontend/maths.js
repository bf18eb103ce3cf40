// Formulas: KaTeX is fetched only where there is one, and draws each from the TeX that stands there. A formula that it
// can't read stays as it was written.
(() => {
  "use strict";
  const { katex, katexStyle } = document.currentScript.dataset;
  const FORMULAS = ".math-inline, .math-display";
  let loading = null;

  function load() {
    loading ??= new Promise((resolve, reject) => {
      const style = Object.assign(document.createElement("link"), { rel: "stylesheet", href: katexStyle });
      const script = Object.assign(document.createElement("script"), { src: katex, onload: resolve, onerror: reject });
      document.head.append(style, script);
    });
    return loading;
  }

  function drawOne(node) {
    if ("tex" in node.dataset) return; // drawn while KaTeX was on its way for somebody else
    const tex = node.textContent;
    const display = node.classList.contains("math-display");
    try {
      // What people and models write is not trusted: no links, no classes or pictures of theirs, macros with an end.
      const options = { displayMode: display, throwOnError: true, trust: false, maxExpand: 500, maxSize: 20 };
      // A command that is not trusted shows as its name, in the text's own colour, which is read in both themes.
      options.errorColor = "currentcolor";
      const drawn = document.createElement("span");
      window.katex.render(tex, drawn, { ...options, strict: "ignore", output: "htmlAndMathml" });
      node.replaceChildren(...drawn.childNodes);
    } catch {
      node.classList.add("math-unread");
    }
    node.dataset.tex = tex;
    // An inline formula that stands by itself may be too wide: then the keyboard must reach its box.
    if (display && !node.closest(".math-box") && node.scrollWidth > node.clientWidth) node.tabIndex = 0;
  }

  async function draw(root) {
    const found = [...root.querySelectorAll(FORMULAS)].filter((node) => !("tex" in node.dataset));
    if (!found.length) return;
    try {
      await load();
    } catch {
      return; // the TeX stays
    }
    for (const node of found) drawOne(node);
    document.dispatchEvent(new CustomEvent("plackett:drawn"));
  }

  draw(document);
  document.addEventListener("htmx:load", (event) => draw(event.detail.elt));
})();

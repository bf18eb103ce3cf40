// Curves of a run: fetched as JSON, drawn by uPlot, redrawn while the run goes on. The only file that knows uPlot.
(() => {
  "use strict";
  const EVERY_MS = 2000;
  const HEIGHT = 200;
  const STEP_TICKS = [1, 2, 5].flatMap((first) => [0, 1, 2, 3, 4, 5, 6].map((power) => first * 10 ** power)).sort((a, b) => a - b);
  const COLOURS = ["--chart-1", "--chart-2", "--chart-3", "--chart-4", "--chart-5"];
  const box = document.getElementById("curves");
  if (!box || !window.uPlot) return;

  const words = box.dataset;
  const drawn = new Map(); // title -> { figure, place, plot, picture }
  const main = box.appendChild(document.createElement("div"));
  main.className = "curve-grid";
  const folded = makeFold();
  const none = box.appendChild(document.createElement("p"));
  none.className = "muted";
  none.textContent = words.none;

  function makeFold() {
    const details = box.appendChild(document.createElement("details"));
    details.hidden = true;
    details.appendChild(document.createElement("summary")).textContent = words.more;
    const grid = details.appendChild(document.createElement("div"));
    grid.className = "curve-grid";
    // What was drawn while folded had no width.
    details.addEventListener("toggle", () => drawn.forEach(fit));
    return { details, grid };
  }

  function css(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function readable(value) {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    if (size !== 0 && (size < 0.001 || size >= 1e6)) return value.toExponential(2);
    return size >= 100 ? value.toFixed(0) : value.toPrecision(3);
  }

  // Ticks of one axis all have the same number of decimals.
  function ticksInWords(plot, ticks, axis, space, step) {
    const largest = Math.max(...ticks.map(Math.abs));
    if (largest !== 0 && (largest < 0.001 || largest >= 1e6)) return ticks.map((tick) => (tick === 0 ? "0" : tick.toExponential(1)));
    const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    return ticks.map((tick) => tick.toFixed(decimals));
  }

  function data(picture) {
    return [picture.steps, ...picture.series.map((series) => series.values)];
  }

  function options(picture, width) {
    const axis = { stroke: css("--muted"), grid: { stroke: css("--chart-grid"), width: 1 }, ticks: { stroke: css("--chart-grid") } };
    return {
      width,
      height: HEIGHT,
      scales: { x: { time: false } },
      cursor: { drag: { x: true, y: false } },
      hooks: { setCursor: [(plot) => plot.cursor.idx === null && showLatest(plot)] },
      axes: [{ ...axis, incrs: STEP_TICKS }, { ...axis, size: 60, values: ticksInWords }],
      series: [
        { label: words.step },
        ...picture.series.map((series, place) => ({
          label: series.name,
          stroke: css(COLOURS[place % COLOURS.length]),
          width: 2,
          dash: place ? [6, 3 * place] : undefined, // told apart without colour, too
          spanGaps: true,
          points: { show: series.values.filter((value) => value !== null).length < 40, size: 5 },
          value: (plot, value) => readable(value),
        })),
      ],
    };
  }

  function latest(values) {
    let last = values.length - 1;
    while (last > 0 && (values[last] === null || values[last] === undefined)) last -= 1;
    return last;
  }

  // Where nobody points, the legend tells the latest figures.
  function showLatest(plot) {
    if (plot.data?.[0]?.length) plot.setLegend({ idxs: plot.data.map(latest) }, false);
  }

  // The latest figures in words, for those who do not see the picture.
  function summary(picture) {
    const parts = picture.series.map((series) => {
      const last = latest(series.values);
      return `${series.name} ${readable(series.values[last])} ${words.summary} ${picture.steps[last]}`;
    });
    return `${picture.title}: ${parts.join("; ")}`;
  }

  function draw(picture) {
    let entry = drawn.get(picture.title);
    if (!entry) {
      const figure = document.createElement("figure");
      figure.className = "card curve";
      figure.appendChild(document.createElement("figcaption")).textContent = picture.title;
      const place = figure.appendChild(document.createElement("div"));
      place.setAttribute("role", "img");
      (picture.folded ? folded.grid : main).appendChild(figure);
      if (picture.folded) folded.details.hidden = false;
      entry = { figure, place, plot: null, picture };
      drawn.set(picture.title, entry);
    }
    const names = (one) => one.series.map((series) => series.name).join();
    const sameSeries = entry.plot && names(entry.picture) === names(picture);
    entry.picture = picture;
    entry.place.setAttribute("aria-label", summary(picture));
    if (sameSeries) entry.plot.setData(data(picture));
    else redraw(entry);
    if (entry.plot.cursor.idx === null || !sameSeries) showLatest(entry.plot);
  }

  function redraw(entry) {
    entry.plot?.destroy();
    entry.plot = new uPlot(options(entry.picture, entry.place.clientWidth || 320), data(entry.picture), entry.place);
  }

  function fit(entry) {
    const width = entry.place.clientWidth;
    if (width) entry.plot.setSize({ width, height: HEIGHT });
  }

  async function refresh() {
    let answer;
    try {
      const response = await fetch(words.url, { headers: { Accept: "application/json" }, cache: "no-cache" });
      if (response.status === 403 || response.status === 404) return; // signed out or let go: asking on is no use
      if (!response.ok) throw new Error(response.statusText);
      answer = await response.json();
    } catch {
      setTimeout(refresh, 5 * EVERY_MS);
      return;
    }
    answer.pictures.forEach(draw);
    none.hidden = answer.pictures.length > 0;
    if (!answer.over) setTimeout(refresh, EVERY_MS);
  }

  window.addEventListener("resize", () => drawn.forEach(fit));
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach(redraw));
  refresh();
})();

// Draws the charts of a city's page with uPlot: what series.json says, in the style sheet's colours.
// Every chart has its table beside it, made by the server of the same numbers.
(function () {
  "use strict";

  if (typeof uPlot === "undefined") return;
  const place = () => document.querySelector("[data-series]");
  const plots = new Map();

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue("--chart-" + name).trim() || "#888";
  }

  const minus = (said) => said.replace("-", "−");

  function text(value, axis) {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    const fixed = (digits) => minus(value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
    if (axis.form === "day" || axis.form === "hour") {
      const iso = new Date(value * 1000).toISOString();
      return axis.form === "day" ? iso.slice(0, 10) : iso.slice(0, 10) + " " + iso.slice(11, 16);
    }
    if (axis.form === "share") return (value * 100).toLocaleString("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 }) + " %";
    if (axis.form === "number") return fixed(3);
    const plain = Math.abs(value) >= 100 || value === 0 ? fixed(0) : minus(String(Number(value.toPrecision(3))));
    return axis.unit ? plain + " " + axis.unit : plain;
  }

  // How days and moments are written below an axis, by how far the ticks are apart: uPlot's form, in ISO's order.
  const DAY = 86400;
  const TIMES = [
    [DAY * 365, "{YYYY}", null, null, null, null, null, null, 1],
    [DAY * 28, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
    [DAY, "{D} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
    [3600, "{HH}:{mm}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
    [60, "{HH}:{mm}", "\n{D} {MMM} {YYYY}", null, "\n{D} {MMM}", null, null, null, 1],
  ];

  // Of a tick, which is a round number already.
  function tick(value, axis) {
    if (value === null) return "";
    const short = (number, digits) => minus(String(Number(number.toPrecision(digits))));
    if (axis.form === "share") return short(value * 100, 6) + " %";
    if (Math.abs(value) >= 1e6) return short(value / 1e6, 4) + " M";
    if (Math.abs(value) >= 1e4) return short(value / 1e3, 4) + " k";
    return short(value, 6);
  }

  function series(line, alone) {
    const stroke = colour(line.role);
    const draw = line.draw;
    const one = { label: line.label, stroke: stroke, width: 2, spanGaps: draw !== "points", points: { show: draw === "both" || (alone && draw === "dashed") } };
    if (draw === "dashed") one.dash = [6, 5];
    if (draw === "dashed") one.width = 1.5;
    if (draw === "points") {
      one.paths = () => null;
      one.points = { show: true, size: 6, fill: stroke, stroke: stroke };
    }
    if (draw === "both") one.points = { show: true, size: 6, fill: colour("ground"), stroke: stroke, width: 2 };
    if (line.role === "live") one.points = { show: true, size: 11, fill: stroke, stroke: colour("ground"), width: 2 };
    if (line.role.startsWith("edge")) {
      one.width = 0.75;
      one.points = { show: false };
    }
    if (draw === "none") {
      one.paths = () => null;
      one.points = { show: false };
      one.scale = "unseen";
    }
    if (draw === "bars") {
      one.paths = uPlot.paths.bars({ size: [0.8, 48] });
      one.fill = stroke;
      one.width = 0;
      one.points = { show: false };
    }
    return one;
  }

  const none = (index) => index === null || index === undefined;

  // What is said at a value of x: of each line with a value, the two ends of an interval being one entry.
  function sayings(chart, at) {
    const bands = chart.bands || [];
    return chart.lines
      .map((line, place) => {
        const band = bands.find((each) => each.low === place);
        const axis = line.form ? { form: line.form, unit: "" } : chart.y;
        if (line.values[at] === null || bands.some((each) => each.high === place)) return null;
        const value = text(line.values[at], axis);
        if (!band) return { label: line.label, role: line.role, value: value };
        return { label: band.label, role: line.role, value: value + " to " + text(chart.lines[band.high].values[at], axis) };
      })
      .filter((each) => each !== null);
  }

  // A small box beside the cursor.
  function tip(plot, chart, box) {
    const at = plot.cursor.idx;
    const found = none(at) ? [] : sayings(chart, at);
    box.hidden = !found.length || plot.cursor.left < 0;
    if (box.hidden) return;
    const head = document.createElement("b");
    head.textContent = text(chart.xs[at], chart.x);
    box.replaceChildren(head);
    for (const each of found) {
      const row = document.createElement("div");
      const mark = document.createElement("i");
      mark.style.background = colour(each.role);
      const value = document.createElement("b");
      value.textContent = each.value;
      row.append(mark, each.label + " ", value);
      box.append(row);
    }
    const x = plot.valToPos(chart.xs[at], "x");
    const right = x > plot.over.clientWidth / 2;
    box.style.left = right ? "" : x + 14 + "px";
    box.style.right = right ? plot.over.clientWidth - x + 14 + "px" : "";
  }

  // Bars on each other: each is drawn from the bottom up to its sum, the highest first, behind the others.
  function stacked(chart) {
    const sums = chart.xs.map(() => 0);
    const drawn = chart.lines.map((line) => line.values.map((value, at) => (sums[at] += value || 0)));
    return { values: drawn.reverse(), lines: chart.lines.slice().reverse() };
  }

  function ranged(chart) {
    const low = chart.xs[0], high = chart.xs[chart.xs.length - 1];
    const some = chart.lines.some((line) => line.draw === "bars");
    const gap = chart.xs.length > 1 ? (high - low) / (chart.xs.length - 1) : chart.x.form === "day" ? 864000 : 1;
    const room = some || chart.xs.length === 1 ? gap * 0.75 : (high - low) * 0.02;
    return [(chart.start === null ? low : chart.start) - room, high + room];
  }

  function build(chart, figure) {
    const holder = figure.querySelector(".chart");
    const order = chart.stacked ? stacked(chart) : { values: chart.lines.map((line) => line.values), lines: chart.lines };
    const whole = [chart.xs[0], chart.xs[chart.xs.length - 1]];
    const isTime = chart.x.form === "day" || chart.x.form === "hour";
    const grid = { stroke: colour("grid"), width: 1 };
    const axis = { stroke: colour("text"), grid: grid, ticks: grid, font: "12px " + getComputedStyle(document.body).fontFamily, labelFont: "12px " + getComputedStyle(document.body).fontFamily };
    const yLabel = chart.y.label + (chart.y.unit ? " (" + chart.y.unit + ")" : "");
    const options = {
      width: Math.max(240, holder.clientWidth),
      height: holder.clientWidth < 520 ? 240 : 320,
      tzDate: (stamp) => uPlot.tzDate(new Date(stamp * 1000), "Etc/UTC"),
      cursor: {
        y: false,
        drag: { x: true, y: false, dist: 8 },
        points: { size: 9, width: 2, fill: (u, at) => colour(order.lines[at - 1].role), stroke: () => colour("ground") },
      },
      hooks: { setCursor: [(u) => box.isConnected && tip(u, chart, box)] },
      legend: { live: false, markers: { width: 0, fill: (u, at) => colour(order.lines[at - 1].role) } },
      scales: {
        x: { time: isTime, range: (u, low, high) => (whole[0] === whole[1] || (low === whole[0] && high === whole[1]) ? ranged(chart) : [low, high]) },
        y: chart.lines.some((line) => line.draw === "bars") ? { range: (u, low, high) => [0, (high || 1) * 1.08] } : {},
      },
      axes: [
        { ...axis, label: chart.x.label + (chart.x.unit ? " (" + chart.x.unit + ")" : ""), labelSize: 22, size: isTime ? 44 : 36, ...(isTime ? { values: TIMES } : { values: (u, ticks) => ticks.map((each) => tick(each, chart.x)) }) },
        { ...axis, label: yLabel, labelSize: 22, size: 58, values: (u, ticks) => ticks.map((each) => tick(each, chart.y)) },
      ],
      series: [
        { label: chart.x.label },
        ...order.lines.map((line, place) => {
          const band = (chart.bands || []).find((each) => each.low === place);
          return { ...series(line, chart.xs.length === 1), ...(band ? { label: band.label } : {}) };
        }),
      ],
      bands: (chart.bands || []).map((band) => ({ series: [band.high + 1, band.low + 1], fill: colour(band.role) })),
    };
    const box = document.createElement("div");
    box.className = "chart-tip";
    box.hidden = true;
    holder.textContent = "";
    holder.classList.remove("chart-failed");
    const plot = new uPlot(options, [chart.xs, ...order.values], holder);
    plot.over.append(box);
    const entries = plot.root.querySelectorAll(".u-legend .u-series");
    for (const band of chart.bands || []) entries[band.high].hidden = true; // one entry for both ends
    order.lines.forEach((line, at) => (entries[at].hidden = entries[at].hidden || line.draw === "none"));
    plots.set(chart.id, { plot: plot, chart: chart, figure: figure, whole: whole, start: chart.start });
    plot.root.querySelectorAll("canvas").forEach((each) => each.setAttribute("aria-hidden", "true"));
    return plot;
  }

  function say(entry) {
    const at = entry.plot.cursor.idx;
    if (at === null || at === undefined) return;
    const parts = sayings(entry.chart, at).map((each) => each.label + " " + each.value);
    entry.figure.querySelector(".chart-said").textContent =
      text(entry.chart.xs[at], entry.chart.x) + ": " + (parts.join(", ") || "nothing");
  }

  function move(entry, by) {
    const { plot, chart } = entry;
    const { min, max } = plot.scales.x;
    const seen = chart.xs.map((x, at) => at).filter((at) => chart.xs[at] >= min && chart.xs[at] <= max);
    if (!seen.length) return;
    const now = plot.cursor.idx;
    const place = now === null || now === undefined || !seen.includes(now) ? (by > 0 ? -1 : seen.length) : seen.indexOf(now);
    const at = seen[Math.max(0, Math.min(seen.length - 1, place + by))];
    plot.setCursor({ left: plot.valToPos(chart.xs[at], "x"), top: plot.bbox.height / devicePixelRatio / 2 });
    say(entry);
  }

  function zoom(entry, factor) {
    const { plot, chart } = entry;
    const [low, high] = [chart.xs[0], chart.xs[chart.xs.length - 1]];
    const { min, max } = plot.scales.x;
    const at = plot.cursor.idx;
    const centre = at === null || at === undefined ? (min + max) / 2 : chart.xs[at];
    const width = Math.min((max - min) * factor, (high - low) * 1.1);
    const from = Math.max(low - width * 0.05, Math.min(centre - width / 2, high + width * 0.05 - width));
    plot.setScale("x", { min: from, max: from + width });
  }

  function everything(entry) {
    const [low, high] = entry.whole;
    const room = (high - low) * 0.02 || 1;
    entry.plot.setScale("x", { min: low - room, max: high + room });
  }

  const KEYS = {
    ArrowLeft: (entry) => move(entry, -1),
    ArrowRight: (entry) => move(entry, 1),
    Home: (entry) => move(entry, -1e9),
    End: (entry) => move(entry, 1e9),
    "+": (entry) => zoom(entry, 0.5),
    "=": (entry) => zoom(entry, 0.5),
    "-": (entry) => zoom(entry, 2),
    0: (entry) => everything(entry),
  };

  const entryOf = (target) => {
    const figure = target.closest && target.closest("figure[data-chart]");
    return figure ? plots.get(figure.dataset.chart) : undefined;
  };

  document.addEventListener("keydown", (event) => {
    const act = !event.ctrlKey && !event.metaKey && !event.altKey && KEYS[event.key];
    const entry = act && event.target.closest(".chart") && entryOf(event.target);
    if (!entry) return;
    event.preventDefault();
    act(entry);
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest("button[data-zoom]");
    const entry = button && entryOf(button);
    if (!entry) return;
    if (button.dataset.zoom === "all") everything(entry);
    else zoom(entry, button.dataset.zoom === "in" ? 0.5 : 2);
  });

  let last = null; // what is drawn
  let at = null; // and when it was read
  function drawAll() {
    const root = place();
    if (!root || !last) return;
    for (const chart of last.charts) {
      const figure = root.querySelector('figure[data-chart="' + chart.id + '"]');
      if (!figure) continue;
      const before = plots.get(chart.id);
      // What somebody has zoomed into stays, where the chart still reaches there.
      const range = before && before.figure === figure ? { min: before.plot.scales.x.min, max: before.plot.scales.x.max } : null;
      if (before) before.plot.destroy();
      const plot = build(chart, figure);
      if (range && before.start === chart.start) plot.setScale("x", range);
      figure.classList.add("drawn");
      watcher.observe(figure.querySelector(".chart"));
    }
    root.dataset.drawn = "true";
  }

  function load() {
    const root = place();
    if (!root || root.dataset.at === at) return;
    at = root.dataset.at;
    fetch(root.dataset.series, { credentials: "same-origin", headers: { Accept: "application/json" } })
      .then((answer) => {
        if (!answer.ok) throw new Error(String(answer.status));
        return answer.json();
      })
      .then((found) => {
        last = found;
        drawAll();
      })
      .catch(() => {
        at = null; // the next look asks again
        if (last) return;
        root.querySelectorAll(".chart").forEach((each) => {
          each.textContent = "The chart can't be drawn: its numbers did not come. The table below has them.";
          each.classList.add("chart-failed");
        });
      });
  }

  let waiting = 0;
  const watcher = new ResizeObserver(() => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      for (const entry of plots.values()) {
        const width = entry.figure.querySelector(".chart").clientWidth;
        if (width && Math.abs(width - entry.plot.width) > 1) {
          entry.plot.setSize({ width: Math.max(240, width), height: width < 520 ? 240 : 320 });
        }
      }
    }, 60);
  });

  // The page is brought up to date in place: what is drawn, opened and zoomed into stays.
  const kept = (node) => node instanceof Element && node.matches(".chart, .chart-said");
  const own = { figure: ["class"], details: ["open"], div: ["data-drawn"] };
  Object.assign(Idiomorph.defaults.callbacks, {
    beforeNodeMorphed: (old) => !kept(old),
    beforeAttributeUpdated: (name, node) => !(own[node.localName] || []).includes(name) || !node.closest("[data-series]"),
  });
  document.addEventListener("htmx:afterSettle", load);
  document.addEventListener("themechange", drawAll);
  load();
})();

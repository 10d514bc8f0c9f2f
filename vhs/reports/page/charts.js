// Axes and marks in SVG. A chart is drawn at the width it has room for, and read at that width.

function extent(values, { zero = false, pad = 0.06 } = {}) {
  const known = values.filter(Number.isFinite);
  if (!known.length) return [0, 1];
  let low = Infinity, high = -Infinity;
  for (const value of known) { low = Math.min(low, value); high = Math.max(high, value); }
  if (zero) { low = Math.min(low, 0); high = Math.max(high, 0); }
  const more = (high - low || Math.abs(high) || 1) * pad;
  return [zero && low === 0 ? 0 : low - more, high + more];
}

function ticksOf([low, high], most = 5) {
  const raw = (high - low) / most, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => (high - low) / size <= most);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high + 1e-9 * step; i += 1) found.push(i * step);
  return found;
}

function label(value) { return String(Number(value.toPrecision(6))).replace("-", "−"); }

// An SVG with axes: {svg, plot, x, y}; x and y turn values into places.
function axes({ width, height, xs, ys, title = "", xlabel = "", ylabel = "", xticks, yticks, left = 44, describe = "" }) {
  const top = title ? 20 : 8, bottom = xlabel ? 36 : 22, right = 10;
  const x = (value) => left + (value - xs[0]) / (xs[1] - xs[0]) * (width - left - right);
  const y = (value) => height - bottom - (value - ys[0]) / (ys[1] - ys[0]) * (height - top - bottom);
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": describe || title });
  const rules = s("g", { class: "rules" }), marks = s("g", { class: "ticks" });
  for (const value of yticks || ticksOf(ys)) {
    rules.append(s("line", { x1: left, x2: width - right, y1: y(value), y2: y(value) }));
    marks.append(s("text", { x: left - 5, y: y(value) + 3.5, "text-anchor": "end" }, label(value)));
  }
  for (const value of xticks || ticksOf(xs)) {
    rules.append(s("line", { x1: x(value), x2: x(value), y1: height - bottom, y2: height - bottom + 3 }));
    marks.append(s("text", { x: x(value), y: height - bottom + 14, "text-anchor": "middle" }, label(value)));
  }
  const plot = s("g", {});
  svg.append(rules, marks, plot);
  const room = width - left - right, fits = title && title.length * 6.8 <= room;
  if (title) svg.append(s("text", { x: left, y: 13, class: "title", ...(fits ? {} : { textLength: room, lengthAdjust: "spacingAndGlyphs" }) }, title));
  if (xlabel) svg.append(s("text", { x: (left + width - right) / 2, y: height - 4, class: "axis", "text-anchor": "middle" }, xlabel));
  if (ylabel) {
    const middle = (top + height - bottom) / 2;
    svg.append(s("text", { x: 11, y: middle, class: "axis", "text-anchor": "middle", transform: `rotate(-90 11 ${middle})` }, ylabel));
  }
  return { svg, plot, x, y };
}

function path(points) { return points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join(""); }

// A line with its band: rows of [x, value, lo, hi].
function drawLine(chart, rows, colour, { dash = null, dots = true } = {}) {
  const { plot, x, y } = chart, known = rows.filter((row) => Number.isFinite(row[1]));
  const banded = known.filter((row) => Number.isFinite(row[2]));
  if (banded.length > 1) {
    const edge = [...banded.map((r) => [x(r[0]), y(r[3])]), ...banded.map((r) => [x(r[0]), y(r[2])]).reverse()];
    plot.append(s("path", { d: `${path(edge)}Z`, fill: colour, "fill-opacity": 0.18 }));
  }
  plot.append(s("path", { d: path(known.map((r) => [x(r[0]), y(r[1])])), fill: "none", stroke: colour, "stroke-width": 1.6, "stroke-dasharray": dash }));
  if (dots) for (const row of known) plot.append(s("circle", { cx: x(row[0]), cy: y(row[1]), r: 2.3, fill: colour }));
}

function legend(names) {
  return h("p", { class: "legend" }, names.map(([name, colour, dash]) => h("span", {},
    s("svg", { width: 22, height: 10, "aria-hidden": "true" },
      s("line", { x1: 1, x2: 21, y1: 5, y2: 5, stroke: colour, "stroke-width": 2.4, "stroke-dasharray": dash })), name)));
}

// What colours say: from -most to most, or from low to high.
function colourBar(words, colour, low, high) {
  const steps = Array.from({ length: 41 }, (_, i) => low + (high - low) * i / 40);
  return h("p", { class: "bar" }, `${label(Number(low.toPrecision(3)))} `,
    s("svg", { width: 164, height: 12, "aria-hidden": "true" },
      steps.map((value, i) => s("rect", { x: i * 4, y: 0, width: 4.2, height: 12, fill: colour(value) }))),
    ` ${label(Number(high.toPrecision(3)))} ${words}`);
}

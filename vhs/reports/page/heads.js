// The head map: layers down, heads across, clean and under shift, and one against the other.

function drawHeads(place) {
  const runs = chosenRuns(), shown = runs.map((run) => ({
    run, clean: run.clean === null ? null : effectsOf(run, [run.clean]),
    shift: page.state.look === "clean" ? null : effectsOf(run, looked(run)),
  }));
  const scale = SCALES[page.state.scale], most = mostOf(shown.flatMap(({ clean, shift }) => [clean, shift]), scale);
  const told = `${scale.words} (${scale.unit}; red: the head helps, blue: removing it helps; * q < .05${shown.some((x) => x.shift && x.shift.diff) ? ", ° differs from clean, q < .05" : ""})`;
  put(place, lookSelect(), shown.map((item) => ofRun(item, most, scale)),
    colourBar(told, (value) => diverging(value, most), -most, most),
    folded("Heads as a table", () => headTable(shown)));
}

function mostOf(found, scale) {
  const values = found.filter(Boolean).flatMap((effect) => effect.value).filter(Number.isFinite);
  return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) * scale.factor || 1;
}

function lookSelect() {
  if (!shifted().length) return null;
  const names = ["mean", ...page.conditions.map((c) => c.name)], at = names.indexOf(page.state.look);
  const step = (by) => choose({ look: names[(at + by + names.length) % names.length] });
  const words = { mean: ticked().length === 1 ? ticked()[0].name : `mean of ${plural(ticked().length, "shifted condition")}` };
  return h("p", { class: "look" }, h("label", {}, "Look at ",
    select("look", names, page.state.look, (name) => choose({ look: name }), (name) => words[name] || name)),
    h("button", { type: "button", "aria-label": "Previous condition", onclick: () => step(-1) }, "‹"),
    h("button", { type: "button", "aria-label": "Next condition", onclick: () => step(1) }, "›"));
}

function ofRun({ run, clean, shift }, most, scale) {
  const names = { mean: `mean of ${plural(looked(run).length, "condition")}` };
  const parts = [[clean, "clean", run.clean === null ? [] : [run.clean]], [shift, names[page.state.look] || page.state.look, looked(run)]]
    .filter(([effect]) => effect).map(([effect, name, places]) => headGrid(run, effect, name, places, most, scale));
  const nothing = parts.length ? null : quiet(choosing()
    ? "Nothing is known of this choice: it needs outcomes of samples (--per-sample), and an effect on answers."
    : "Nothing is known of this effect here.");
  const both = clean && shift && clean !== shift ? scatter(run, clean, shift, scale) : null;
  return h("figure", { class: "run" }, h("figcaption", {}, `${runName(run)} on ${run.data}`), h("div", { class: "panels" }, parts, both), nothing);
}

// A grid of buttons; arrows go from head to head.
function headGrid(run, effect, name, places, most, scale) {
  const layers = Math.max(...run.layer) + 1, width = Math.max(...run.head) + 1, buttons = new Map();
  const at = (layer, head) => run.heads.indexOf(`L${layer}H${head}`);
  const cellAt = (layer, head) => (at(layer, head) < 0 ? null : cellOf(at(layer, head)));
  function cellOf(u) {
    const mark = (effect.q[u] < ALPHA ? "*" : "") + (effect.diffQ && effect.diffQ[u] < ALPHA ? "°" : "");
    const lines = () => headLines(run, effect, u, name, scale);
    const button = h("button", { type: "button", tabindex: u ? -1 : 0, "aria-label": lines().join(", "), onclick: () => choose({ head: page.state.head === run.heads[u] ? null : run.heads[u] }) }, mark);
    const value = effect.value[u] * scale.factor;
    button.style.background = diverging(value, most);
    button.style.color = inkOn(diverging(value, most));
    if (run.heads[u] === page.state.head) button.classList.add("chosen");
    button.addEventListener("keydown", (event) => move(event, u));
    buttons.set(u, button);
    return tipped(button, lines);
  }
  function move(event, u) {
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    const next = step && at(run.layer[u] + step[0], run.head[u] + step[1]);
    if (step) event.preventDefault();
    if (step && next >= 0) { buttons.get(u).tabIndex = -1; buttons.get(next).tabIndex = 0; buttons.get(next).focus(); }
  }
  const right = accuracyOver(run, places);
  return h("div", { class: "panel" }, h("p", {}, h("strong", {}, name), h("br"), h("span", { class: "quiet" }, `${right}n = ${count(effect.n)}`)),
    gridTable(layers, width, cellAt, { role: "grid", "aria-label": `${runName(run)}, ${name}` }),
    h("p", { class: "axis" }, "head across, layer down"));
}

function accuracyOver(run, places) {
  const found = places.map((c) => intact(run, c, maskFor(run))).filter(Boolean);
  return found.length ? `${share(found.reduce((sum, item) => sum + item[0], 0) / found.length)} right, ` : "";
}

function headLines(run, effect, u, name, scale) {
  const f = scale.factor, digits = scale.factor === 100 ? 1 : 3;
  const range = (lo, hi) => (Number.isFinite(lo) ? ` (95 %: ${fixed(lo * f, digits)} to ${fixed(hi * f, digits)})` : "");
  const lines = [`${run.heads[u]}, ${name}`, `${fixed(effect.value[u] * f, digits, true)} ${scale.unit}${range(effect.lo[u], effect.hi[u])}`];
  if (Number.isFinite(effect.q[u])) lines.push(`q = ${probability(effect.q[u])}`);
  if (effect.diff) lines.push(`less clean: ${fixed(effect.diff[u] * f, digits, true)}${range(effect.diffLo[u], effect.diffHi[u])}${Number.isFinite(effect.diffQ[u]) ? `, q = ${probability(effect.diffQ[u])}` : ""}`);
  return lines;
}

function scatter(run, clean, shift, scale) {
  const f = scale.factor, values = (e) => [...e.value, ...e.lo, ...e.hi].map((v) => v * f);
  const range = extent([...clean.value, ...shift.value].map((v) => v * f).concat(values(clean).filter((v) => Math.abs(v) < 3 * mostOf([clean, shift], scale)), values(shift).filter((v) => Math.abs(v) < 3 * mostOf([clean, shift], scale))), { zero: true });
  const chart = axes({ width: 330, height: 310, xs: range, ys: range, xlabel: `clean (${scale.unit}, 95 %)`, ylabel: `under shift (${scale.unit}, 95 %)`, describe: "Each head, clean against shift" });
  const { plot, x, y } = chart, layers = Math.max(...run.layer) + 1;
  plot.append(s("line", { class: "diagonal", x1: x(range[0]), y1: y(range[0]), x2: x(range[1]), y2: y(range[1]) }));
  const bars = s("g", { class: "bars" });
  run.heads.forEach((_, u) => {
    const [cx, cy] = [x(clean.value[u] * f), y(shift.value[u] * f)];
    if (Number.isFinite(clean.lo[u])) bars.append(s("line", { x1: x(clean.lo[u] * f), x2: x(clean.hi[u] * f), y1: cy, y2: cy }));
    if (Number.isFinite(shift.lo[u])) bars.append(s("line", { x1: cx, x2: cx, y1: y(shift.lo[u] * f), y2: y(shift.hi[u] * f) }));
  });
  plot.append(bars);
  run.heads.forEach((name, u) => {
    const point = s("circle", { cx: x(clean.value[u] * f), cy: y(shift.value[u] * f), r: name === page.state.head ? 7 : 4.2, fill: ofLayer(run.layer[u], layers), class: "point", onclick: () => choose({ head: name }) });
    plot.append(tipped(point, () => [...headLines(run, clean, u, "clean", scale), ...headLines(run, shift, u, "shift", scale).slice(1)]));
  });
  const far = [...run.heads.keys()].sort((a, b) => Math.hypot(clean.value[b], shift.value[b]) - Math.hypot(clean.value[a], shift.value[a])).slice(0, 4);
  for (const u of far) plot.append(s("text", { x: x(clean.value[u] * f) + 6, y: y(shift.value[u] * f) - 5, class: "name" }, run.heads[u]));
  return h("div", { class: "panel" }, h("p", {}, h("strong", {}, "each head, clean against shift"), h("br"), h("span", { class: "quiet" }, "dark: first layers, bright: last")), chart.svg);
}

const NUMBERS = [
  ["value", "effect"], ["lo", "lo"], ["hi", "hi"], ["p", "p"], ["q", "q"], ["diff", "less clean"], ["diffLo", "lo"], ["diffHi", "hi"], ["diffQ", "q"],
];

function headTable(shown) {
  const scale = SCALES[page.state.scale], rows = [];
  for (const { run, clean, shift } of shown) {
    run.heads.forEach((head, u) => rows.push({ model: runName(run), head, clean: pick(clean, u), shift: pick(shift, u) }));
  }
  const columns = [{ name: "model", text: true, at: (row) => row.model }, { name: "head", text: true, head: true, at: (row) => row.head, open: (row) => choose({ head: row.head }) }];
  for (const part of ["clean", "shift"]) {
    for (const [key, words] of NUMBERS) {
      if (!rows.some((row) => row[part] && row[part][key] !== undefined)) continue;
      const at = (row) => (row[part] ? row[part][key] : NaN), name = `${part}_${key}`, told = `${part}: ${words}`;
      columns.push(/^(p|q|diffQ)$/.test(key) ? pColumn(name, told, at) : effectColumn(scale, name, told, at, key === "value" || key === "diff"));
    }
  }
  return dataTable("heads", columns.filter((c) => c.name !== "model" || shown.length > 1), rows, { file: "heads" });
}

function pick(effect, u) {
  return effect && Object.fromEntries(NUMBERS.filter(([key]) => effect[key]).map(([key]) => [key, effect[key][u]]));
}

// Accuracy against severity, and heads over corruptions and categories.

function drawAccuracy(place) {
  const curves = choosing() ? fromRuns() : fromTables() || fromRuns();
  const rows = curves.flatMap((curve) => curve.points.map((point) => ({ model: curve.name, ...point })));
  if (!rows.length) return put(place, quiet("Nothing is known of this choice."));
  const names = [...new Set(rows.filter((row) => row.corruption).map((row) => row.corruption))];
  const chances = curves.map((curve) => curve.chance).filter(Number.isFinite);
  const lowest = Math.min(...chances, ...rows.map((row) => row.lo)) * 100;
  const charts = names.map((name) => severity(name, curves, Math.max(0, lowest - 4)));
  const others = rows.filter((row) => !row.corruption);
  put(place, curves.length > 1 ? legend(curves.map((curve, i) => [curve.name, line(i)])) : null,
    h("div", { class: "panels" }, charts),
    names.length ? quiet(`Answers right (%) against severity, 0 is clean; bands: 95 %, Wilson${curves[0].chance ? "; dotted: chance" : ""}.`) : null,
    names.length ? folded("Accuracy as a table", () => accuracyTable(rows)) : accuracyTable(others));
  return place;
}

function accuracyTable(rows) {
  return dataTable("accuracy", [
    { name: "model", text: true, at: (row) => row.model }, { name: "condition", text: true, at: (row) => row.name },
    { name: "top1", words: "right (%)", at: (row) => row.value, digits: 1, factor: 100 }, { name: "top1_lo", words: "lo", at: (row) => row.lo, digits: 1, factor: 100 },
    { name: "top1_hi", words: "hi", at: (row) => row.hi, digits: 1, factor: 100 }, { name: "n", at: (row) => row.n },
  ], rows, { file: "accuracy" });
}

// Of the evaluation tables: more images than an ablation takes.
function fromTables() {
  const tables = page.data.tables.filter((table) => table.kind === "evalshift");
  if (!tables.length) return null;
  const found = new Map();
  for (const row of tables.flatMap(rowsOf)) {
    if (row.group !== "all" || row.label_set !== "all") continue;
    if (!found.has(row.model_id)) found.set(row.model_id, { name: shortName(row.model), points: [], data: row.data, chance: page.data.chance[row.model_id] });
    found.get(row.model_id).points.push({ corruption: row.corruption, severity: row.severity, shift: row.shift, name: conditionName(row), value: row.n_correct / row.n, lo: wilson(row.n_correct, row.n)[0], hi: wilson(row.n_correct, row.n)[1], n: row.n });
  }
  return found.size ? [...found.values()] : null;
}

function fromRuns() {
  return chosenRuns().filter((run) => run.target === "class").map((run) => ({
    name: runName(run), chance: page.data.chance[run.model_id],
    points: run.conditions.map((condition, c) => ({ condition, found: intact(run, c, maskFor(run)) })).filter((item) => item.found)
      .map(({ condition, found: [value, lo, hi, n] }) => ({ ...condition, value, lo, hi, n })),
  })).filter((curve) => curve.points.length);
}

function shortName(name) { return name.split("/").pop().replace(/\.safetensors$/, ""); }
function conditionName(row) { return row.corruption ? `${row.corruption.replaceAll("_", " ")} ${row.severity}` : row.shift; }

function severity(name, curves, lowest) {
  const chart = axes({ width: 196, height: 150, xs: [-0.2, 5.2], ys: [lowest, 100], title: name.replaceAll("_", " "), xticks: [0, 1, 2, 3, 4, 5], left: 32, describe: `Accuracy against severity of ${name.replaceAll("_", " ")}` });
  const chance = curves[0].chance * 100;
  if (chance > lowest) chart.plot.append(s("line", { class: "chance", x1: chart.x(0), x2: chart.x(5), y1: chart.y(chance), y2: chart.y(chance) }));
  curves.forEach((curve, i) => {
    const points = curve.points.filter((p) => p.corruption === name || p.shift === "clean").sort((a, b) => a.severity - b.severity);
    drawLine(chart, points.map((p) => [p.severity, p.value * 100, p.lo * 100, p.hi * 100]), line(i));
  });
  return chart.svg;
}

// Heads down, clean and each kind of shift across: means over what is ticked.
function drawRollup(place) {
  const scale = SCALES[page.state.scale];
  put(place, chosenRuns().map((run) => rollupOf(run, scale)));
}

function partsOf(run) {
  const at = (wanted) => placesOf(run, ticked().filter(wanted).map((c) => c.name));
  const names = (key) => [...new Set(ticked().map((c) => c[key]).filter(Boolean))];
  const found = [...names("category").map((name) => ["category", name, at((c) => c.category === name)]), ...names("corruption").map((name) => ["corruption", name.replaceAll("_", " "), at((c) => c.corruption === name)]),
    ...names("shift").filter((name) => ticked().some((c) => c.shift === name && !c.corruption)).map((name) => ["set", name, at((c) => c.shift === name)])];
  return found.map(([kind, name, places]) => ({ kind, name, places })).filter((part) => part.places.length);
}

function rollupOf(run, scale) {
  const parts = partsOf(run).map((part) => ({ ...part, effect: effectsOf(run, part.places) })).filter((part) => part.effect);
  const clean = run.clean === null ? null : effectsOf(run, [run.clean]);
  if (!parts.length) return null;
  const q = benjaminiHochberg(parts.flatMap((part) => part.effect.diffP || part.effect.p.map(() => NaN)));
  parts.forEach((part, i) => { part.q = q.slice(i * run.heads.length, (i + 1) * run.heads.length); });
  const columns = [...(clean ? [{ name: "clean", effect: clean, q: [] }] : []), ...parts];
  const most = mostOf(columns.map((part) => part.effect), scale), size = run.heads.length > 48 ? 9 : 16, left = 46;
  const longest = Math.max(...columns.map((part) => part.name.length)), top = Math.max(92, 16 + 5 * longest);
  const place = placesAcross(columns, left);
  const svg = s("svg", { width: place[place.length - 1] + Math.max(84, 24 + 3.6 * longest), height: top + run.heads.length * size + 6, class: "matrix", role: "img", "aria-label": `Heads of ${runName(run)} by kind of shift` });
  columns.forEach((part, j) => {
    svg.append(s("text", { transform: `translate(${place[j] + 15} ${top - 6}) rotate(-55)` }, part.name));
    run.heads.forEach((head, u) => {
      const value = part.effect.value[u] * scale.factor;
      const rect = s("rect", { x: place[j], y: top + u * size, width: 23, height: size - 1, fill: diverging(value, most), onclick: () => choose({ head }) });
      svg.append(tipped(rect, () => headLines(run, part.effect, u, part.name, scale)));
      if (part.q[u] < ALPHA) svg.append(s("circle", { cx: place[j] + 11.5, cy: top + u * size + size / 2 - 0.5, r: Math.min(2.6, size / 4), class: "dot" }));
    });
  });
  run.heads.forEach((head, u) => { if (size > 10 || !(u % 2)) svg.append(s("text", { x: left - 5, y: top + u * size + size / 2 + 3.5, "text-anchor": "end" }, head)); });
  return h("figure", { class: "run" }, h("figcaption", {}, runName(run)), h("div", { class: "scroll" }, svg),
    colourBar(`${scale.words} (${scale.unit}); dot: differs from clean, q < .05 over all of these, clustered by image`, (value) => diverging(value, most), -most, most),
    folded("Heads by kind of shift as a table", () => rollupTable(run, parts, scale)));
}

// Columns with gaps after clean and after the categories.
function placesAcross(columns, left) {
  let at = left - 24;
  return columns.map((part, j) => { at += j && part.kind !== columns[j - 1].kind ? 32 : 24; return at; });
}

function rollupTable(run, parts, scale) {
  const rows = parts.flatMap((part) => run.heads.map((head, u) => ({ over: part.name, conditions: part.places.length, head, ...pick(part.effect, u), q: part.q[u] })));
  const number = (name, words, signed) => effectColumn(scale, name, words, (row) => row[name] ?? NaN, signed);
  return dataTable("rollup", [{ name: "over", text: true, at: (row) => row.over }, { name: "conditions", at: (row) => row.conditions }, { name: "head", text: true, at: (row) => row.head },
    number("value", "effect", true), number("lo", "lo"), number("hi", "hi"), number("diff", "less clean", true), number("diffLo", "lo"), number("diffHi", "hi"),
    pColumn("q", "q", (row) => row.q)], rows, { file: "rollup" });
}

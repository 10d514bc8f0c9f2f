// All that is known of one head: behind a click on the map.

function drawCard(place) {
  const head = page.state.head, runs = head ? chosenRuns().filter((run) => run.heads.includes(head)) : [];
  place.hidden = !runs.length;
  if (!runs.length) return put(place);
  return put(place, h("h3", { tabindex: -1 }, `Head ${head}`),
    h("p", {}, h("button", { type: "button", onclick: () => choose({ head: null }) }, "Close")),
    runs.map((run) => cardOf(run, head)), overlays(head, runs));
}

function cardOf(run, head) {
  const known = page.data.cards[`${run.model_id} ${head}`] || { facts: [] }, u = run.heads.indexOf(head);
  const scale = SCALES[page.state.scale], rows = run.conditions.map((condition, c) => ({ condition, effect: effectsOf(run, [c]) })).filter((row) => row.effect);
  return h("article", {}, h("h4", {}, runName(run)), known.sentence ? h("p", { class: "lead" }, known.sentence) : null,
    known.facts.length ? h("dl", {}, known.facts.map(([name, words]) => [h("dt", {}, name), h("dd", {}, words)])) : null,
    rows.length ? [quiet(`${scale.words} (${scale.unit}) against severity, 0 is clean; bands: 95 %. * q < .05 over the heads of the condition.`),
      h("div", { class: "panels" }, effectCharts(rows, u, scale)), folded("Its effect under every condition", () => effectTable(rows, u, scale))] : null);
}

function effectCharts(rows, u, scale) {
  const f = scale.factor, clean = rows.find((row) => row.condition.shift === "clean");
  const ys = extent(rows.flatMap((row) => [row.effect.value[u], row.effect.lo[u], row.effect.hi[u]].map((v) => v * f)), { zero: true });
  const point = (row) => [row.condition.severity, ...["value", "lo", "hi"].map((key) => row.effect[key][u] * f)];
  const names = [...new Set(rows.filter((row) => row.condition.corruption).map((row) => row.condition.corruption))];
  return names.map((name) => {
    const chart = axes({ width: 178, height: 132, xs: [-0.2, 5.2], ys, title: name.replaceAll("_", " "), xticks: [0, 1, 2, 3, 4, 5], left: 34 });
    chart.plot.append(s("line", { class: "zero", x1: chart.x(-0.2), x2: chart.x(5.2), y1: chart.y(0), y2: chart.y(0) }));
    const own = [...(clean ? [clean] : []), ...rows.filter((row) => row.condition.corruption === name)];
    drawLine(chart, own.map(point), line(0));
    for (const row of own) {
      if (row.effect.q[u] < ALPHA) chart.plot.append(s("text", { x: chart.x(row.condition.severity), y: chart.y(row.effect.value[u] * f) - 5, "text-anchor": "middle", class: "star" }, "*"));
    }
    return chart.svg;
  });
}

function effectTable(rows, u, scale) {
  const at = (name) => (row) => (row.effect[name] ? row.effect[name][u] : NaN);
  const number = (name, words, signed) => effectColumn(scale, name, words, at(name), signed), p = (name, words) => pColumn(name, words, at(name));
  return dataTable("effects", [{ name: "condition", text: true, at: (row) => row.condition.name }, number("value", "effect", true), number("lo", "lo"), number("hi", "hi"), p("q", "q"),
    number("diff", "less clean", true), p("diffQ", "q of that"), { name: "n", at: (row) => row.effect.n }], rows, { file: "head" });
}

// Measures of heads (vhs specialize) as head maps, one at a time.

function measureKey(row) {
  return [row.metric.replaceAll("_", " "), row.of, row.query === "none" || row.query === "all" ? null : `${row.query} queries`, row.weighting === "value" ? "by value" : null].filter(Boolean).join(", ");
}

function measured() {
  if (!page.measured) {
    page.measured = new Map();
    for (const row of page.data.tables.filter((table) => table.kind === "heads").flatMap(rowsOf)) {
      const key = measureKey(row);
      if (!page.measured.has(key)) page.measured.set(key, []);
      page.measured.get(key).push({ ...row, condition: conditionName(row), headName: `L${row.layer}H${row.head}` });
    }
  }
  return page.measured;
}

function drawMeasures(place) {
  const all = measured(), names = [...all.keys()], name = all.has(page.state.measure) ? page.state.measure : names[0], rows = all.get(name);
  const models = [...new Set(rows.map((row) => row.model_id))], conditions = [...new Set(rows.map((row) => row.condition))];
  const [low, high] = extent(rows.map((row) => row.value), { pad: 0 }), unit = rows[0].in_unit === "1" ? "" : ` (${rows[0].in_unit})`;
  put(place, h("p", {}, h("label", {}, "Measure ", select("measure", names, name, (word) => choose({ measure: word })))), models.map((id) => {
    const own = rows.filter((row) => row.model_id === id);
    return h("figure", { class: "run" }, h("figcaption", {}, `${shortName(own[0].model)} on ${own[0].data}`),
      h("div", { class: "panels" }, conditions.slice(0, 4).map((condition) => measureGrid(own.filter((row) => row.condition === condition), condition, low, high))));
  }), colourBar(`${name}${unit}`, (value) => sequential(value, low, high), low, high), folded("This measure as a table", () => measureTable(rows)));
}

function measureGrid(rows, condition, low, high) {
  if (!rows.length) return null;
  const layers = Math.max(...rows.map((row) => row.layer)) + 1, width = Math.max(...rows.map((row) => row.head)) + 1;
  const at = new Map(rows.map((row) => [row.headName, row]));
  const square = (layer, head) => {
    const row = at.get(`L${layer}H${head}`);
    if (!row) return null;
    const chance = row.null_lo === null ? [] : [`by chance ${fixed(row.null_lo, 3)} to ${fixed(row.null_hi, 3)}`];
    const lines = () => [`${row.headName}, ${condition}`, `${fixed(row.value, 3)}${row.lo === null ? "" : ` (95 %: ${fixed(row.lo, 3)} to ${fixed(row.hi, 3)})`}`, ...chance];
    const button = h("button", { type: "button", "aria-label": lines().join(", "), onclick: () => choose({ head: row.headName }) });
    button.style.background = sequential(row.value, low, high);
    return tipped(button, lines);
  };
  return h("div", { class: "panel" }, h("p", {}, h("strong", {}, condition), h("br"), h("span", { class: "quiet" }, `n = ${count(rows[0].n)}`)),
    gridTable(layers, width, square));
}

function measureTable(rows) {
  const names = ["value", "lo", "hi", "null_lo", "null_hi"].map((name) => ({ name, at: (row) => row[name] }));
  return dataTable("measures", [{ name: "model", text: true, at: (row) => shortName(row.model) }, { name: "condition", text: true, at: (row) => row.condition },
    { name: "head", text: true, head: true, at: (row) => row.headName, open: (row) => choose({ head: row.headName }) }, ...names, { name: "n", at: (row) => row.n }], rows, { file: "measure" });
}

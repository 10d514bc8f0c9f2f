// Tables that sort, filter and go as CSV. columns: {name, words, at(row), digits, factor, signed, p}; rows: of objects.

const AT_ONCE = 100;

function dataTable(name, columns, rows, { file = name, shown = AT_ONCE } = {}) {
  let sorted = null, down = false, wanted = "", most = shown;
  const body = h("tbody"), status = h("span", { class: "quiet", role: "status" });
  const heads = columns.map((column, index) => h("th", { scope: "col", class: column.text ? "" : "number" },
    h("button", { type: "button", title: column.meaning || "Sort", onclick: () => sort(index) }, column.words || column.name.replaceAll("_", " "))));
  const more = h("button", { type: "button", onclick: () => { most *= 10; draw(); } }, "Show more");
  const filter = h("input", { type: "search", placeholder: "Filter rows", "aria-label": `Filter rows of ${name}`, oninput: (event) => { wanted = event.target.value.toLowerCase(); draw(); } });
  function sort(index) {
    down = sorted === index ? !down : !columns[index].text;
    sorted = index;
    heads.forEach((head, i) => head.setAttribute("aria-sort", i === index ? (down ? "descending" : "ascending") : "none"));
    draw();
  }
  function picked() {
    const text = (row) => columns.map((column) => cell(column, row)).join(" ").toLowerCase();
    const left = wanted ? rows.filter((row) => text(row).includes(wanted)) : [...rows];
    if (sorted === null) return left;
    const at = columns[sorted].at, empty = (value) => value === null || value === undefined || Number.isNaN(value);
    return left.sort((a, b) => {
      const x = at(a), y = at(b);
      if (empty(x) || empty(y)) return empty(x) - empty(y); // what is not known comes last, either way
      return (typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y) * (down ? -1 : 1);
    });
  }
  function draw() {
    const left = picked();
    put(body, left.slice(0, most).map((row) => h("tr", {}, columns.map((column) =>
      h(column.head ? "th" : "td", { class: column.text ? null : "number", scope: column.head ? "row" : null },
        column.open ? h("button", { type: "button", class: "link", onclick: () => column.open(row) }, cell(column, row)) : cell(column, row))))));
    put(status, `${count(Math.min(most, left.length))} of ${plural(left.length, "row")}`);
    more.hidden = left.length <= most;
  }
  draw();
  return h("div", { class: "table" },
    h("p", { class: "tools" }, filter, " ", status, " ", h("button", { type: "button", onclick: () => save(`${file}.csv`, [csv(columns, picked())], "text/csv") }, "Download as CSV")),
    h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, heads)), body)), more);
}

// A column of effects in a scale's unit, and one of probabilities.
function effectColumn(scale, name, words, at, signed = false) {
  return { name, words: `${words} (${scale.unit})`, at, digits: scale.factor === 100 ? 1 : 3, factor: scale.factor, signed };
}
function pColumn(name, words, at) { return { name, words, at, p: true }; }

function cell(column, row) {
  const value = column.at(row);
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (typeof value !== "number") return String(value);
  if (column.p) return probability(value);
  if (column.digits === undefined) return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4))).replace("-", "−");
  return fixed(value * (column.factor || 1), column.digits, column.signed);
}

// Whole numbers as the table has them, never as they are rounded for the eye.
function csv(columns, rows) {
  const quoted = (value) => {
    if (value === null || value === undefined || Number.isNaN(value)) return "";
    const text = String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [columns.map((column) => quoted(column.name)).join(","), ...rows.map((row) => columns.map((column) => quoted(column.at(row))).join(","))].join("\n") + "\n";
}

// A table of the page as it came in.
function wholeTable(table) {
  const columns = columnsOf(table).map((column) => ({ name: column.name, text: !column.number, at: (row) => column.at(row), meaning: table.meanings[column.name] }));
  return dataTable(table.title, columns, Array.from({ length: table.rows }, (_, row) => row), { file: table.file });
}

function folded(words, make) {
  const details = h("details", {}, h("summary", {}, words));
  details.addEventListener("toggle", () => { if (details.open && details.children.length === 1) details.append(make()); });
  return details;
}

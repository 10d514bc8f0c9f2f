// What the reader ticks: models, what an effect is, conditions, classes, groups.

function ticks(names, isOn, onChange, words = (name) => name) {
  return names.map((name) => h("label", {}, h("input", { type: "checkbox", checked: isOn(name), onchange: (event) => onChange(name, event.target.checked) }), words(name)));
}

function toggled(list, name, on) { return on ? [...new Set([...list, name])] : list.filter((item) => item !== name); }

function controls() {
  const scales = Object.keys(SCALES).filter((scale) => page.data.runs.some((run) =>
    SCALES[scale].needs === "dse" ? run.target !== "class" : run.target === "class"));
  const scale = select("scale", scales, page.state.scale, (name) => choose({ scale: name }), (name) => `${SCALES[name].words} (${SCALES[name].unit})`);
  return [
    h("label", {}, "Effect ", scale),
    page.data.runs.length > 1 ? box("Models", models()) : null,
    shifted().length > 1 ? box("Conditions", conditionTicks()) : null,
    ...sampleTicks(),
    h("button", { type: "button", onclick: () => choose(initial()) }, "Reset"),
    h("button", { type: "button", title: "This page, as it is now", onclick: saveCopy }, "Save this view"),
    h("button", { type: "button", onclick: nextTheme }, "Light or dark"),
  ];
}

// A box that stays open while what is in it changes.
const opened = new Set();
function box(name, content) {
  const details = h("details", { class: "box", open: opened.has(name) }, h("summary", {}, name), h("div", { class: "choices" }, content));
  details.addEventListener("toggle", () => (details.open ? opened.add(name) : opened.delete(name)));
  return details;
}

function models() {
  const names = page.data.runs.map((_, i) => i);
  return h("div", { class: "column" }, ticks(names, (i) => page.state.runs.includes(i), (i, on) => {
    const left = toggled(page.state.runs, i, on).sort((a, b) => a - b);
    if (left.length) choose({ runs: left }); else draw();
  }, (i) => runName(page.data.runs[i])));
}

// A run by its model, and by what else tells it from the others.
function runName(run) {
  const tells = ["fill", "target", "group", "data", "label_set"].filter((name) => page.data.runs.some((other) => other[name] !== run[name]));
  const names = page.data.runs.some((other) => other !== run && other.name === run.name && other.model_id !== run.model_id) ? run.model : run.name;
  return [names, ...tells.map((name) => run[name]).filter((word) => word !== "all")].join(", ");
}

function conditionTicks() {
  const rows = new Map();
  for (const condition of shifted()) {
    const name = condition.corruption || condition.shift;
    if (!rows.has(name)) rows.set(name, []);
    rows.get(name).push(condition);
  }
  const set = (names, on) => choose({ left: names.reduce((left, name) => toggled(left, name, !on), page.state.left) });
  const isOn = (name) => !page.state.left.includes(name);
  const all = shifted().map((condition) => condition.name);
  const several = (words, names) => h("button", { type: "button", onclick: () => set(names, !names.every(isOn)) }, words);
  const categories = [...new Set(shifted().map((c) => c.category).filter(Boolean))];
  return [
    h("p", {}, several("All", all), " ", categories.map((name) => [several(name, shifted().filter((c) => c.category === name).map((c) => c.name)), " "])),
    h("table", { class: "ticks" }, h("tbody", {}, [...rows].map(([name, found]) => h("tr", {},
      h("th", { scope: "row" }, several(name.replaceAll("_", " "), found.map((c) => c.name))),
      h("td", {}, ticks(found.map((c) => c.name), isOn, (one, on) => set([one], on),
        (one) => (found.length > 1 || found[0].corruption ? String(found.find((c) => c.name === one).severity) : ""))))))),
  ];
}

// Classes and groups, where the page has the outcome of every sample.
function sampleTicks() {
  const runs = chosenRuns().filter((run) => run.samples);
  if (!runs.length) return [];
  const classes = [...new Set(runs.flatMap((run) => run.samples.classes))], chosen = page.state.classes;
  const setClasses = (list) => choose({ classes: list.length === classes.length ? null : list });
  const list = h("div", { class: "column" });
  const show = (wanted) => put(list, ticks(classes.filter((name) => name.toLowerCase().includes(wanted)).slice(0, 200), (name) => !chosen || chosen.includes(name),
    (name, on) => setClasses(toggled(chosen || classes, name, on))));
  show("");
  const found = h("input", { type: "search", placeholder: "Find a class", "aria-label": "Find a class", oninput: (event) => show(event.target.value.toLowerCase()) });
  const made = [box("Classes", [h("p", {}, h("button", { type: "button", onclick: () => setClasses(classes) }, "All"), " ", h("button", { type: "button", onclick: () => setClasses([]) }, "None"), " ", found), list])];
  for (const attribute of runs[0].samples.groups) {
    const on = page.state.groups[attribute.name] || attribute.values;
    made.push(box(attribute.name, h("div", { class: "column" }, ticks(attribute.values, (value) => on.includes(value), (value, yes) => {
      const left = toggled(on, value, yes), groups = { ...page.state.groups, [attribute.name]: left };
      if (left.length === attribute.values.length) delete groups[attribute.name];
      choose({ groups });
    }, (value) => value || "none"))));
  }
  return made;
}

// What the numbers below are of, in a line; with a warning where the choice came after the data.
function choiceInWords() {
  const parts = [], all = shifted().length, left = ticked().length;
  if (left < all) parts.push(`${left} of ${all} shifted conditions`);
  if (page.state.classes) parts.push(plural(page.state.classes.length, "class").replace("classs", "classes"));
  for (const [name, values] of Object.entries(page.state.groups)) parts.push(`${name}: ${values.join(", ") || "nothing"}`);
  if (!parts.length) return "";
  const dumb = page.state.scale === "loss" && choosing();
  return `Chosen after seeing the data: ${parts.join("; ")}. Intervals, p and q are of what is shown, and do not know that it was chosen.` +
    (dumb ? " Outcomes say whether an answer was right, not its loss: choose another effect." : "");
}

function nextTheme() {
  const root = document.documentElement;
  root.dataset.theme = isDark() ? "light" : "dark";
  draw();
}

// The page as it came in, told to start where the reader is.
function saveCopy() {
  const hash = toHash().replaceAll("&", "&amp;").replaceAll('"', "&quot;");
  const text = page.source.replace(/<meta name="vhs-state"[^>]*>/, `<meta name="vhs-state" content="${hash.replaceAll("$", "$$$$")}">`);
  save("report.html", [text], "text/html");
}

// What the reader chose, kept in the address so that a link or a saved copy shows the same.

const page = { data: null, conditions: [], state: null, mask: new Map() };

function initial() {
  const first = page.data.runs[0];
  return {
    runs: page.data.runs.map((_, i) => i).filter((i) => i < 4 && alike(page.data.runs[i], first)),
    scale: first ? (first.target === "class" ? "accuracy" : "relative_error") : "accuracy",
    left: [], classes: null, groups: {}, look: "mean", head: null, measure: null,
  };
}

// Runs that are drawn side by side without being asked: of one fill, target and group.
function alike(run, first) { return ["fill", "target", "group", "data", "label_set"].every((name) => run[name] === first[name]); }

// Conditions of all runs, once each, in order, clean first.
function everyCondition(runs) {
  const found = new Map();
  for (const run of runs) for (const condition of run.conditions) if (!found.has(condition.name)) found.set(condition.name, condition);
  return [...found.values()].sort((a, b) => (b.shift === "clean") - (a.shift === "clean"));
}

function shifted() { return page.conditions.filter((condition) => condition.shift !== "clean"); }
function ticked() { return shifted().filter((condition) => !page.state.left.includes(condition.name)); }
function placesOf(run, names) { return names.map((name) => run.conditions.findIndex((c) => c.name === name)).filter((c) => c >= 0); }

// The conditions of a run that the right-hand map shows.
function looked(run) {
  const look = page.state.look;
  return placesOf(run, look === "mean" ? ticked().map((c) => c.name) : [look]);
}

function choosing() { return Boolean(page.state.classes) || Object.keys(page.state.groups).length > 0; }

function chosenRuns() { return page.state.runs.map((i) => page.data.runs[i]).filter(Boolean); }

function maskFor(run) {
  const key = JSON.stringify([page.state.classes, page.state.groups]);
  if (page.maskKey !== key) { page.maskKey = key; page.mask = new Map(); }
  if (!run.samples) return choosing() ? NO_SAMPLES : null;
  if (!page.mask.has(run)) page.mask.set(run, maskOf(run.samples, page.state));
  return page.mask.get(run);
}
const NO_SAMPLES = {}; // stands for a choice of samples that a run without outcomes cannot follow

function effectsOf(run, places) { return places.length ? effects(run, places, maskFor(run), page.state.scale) : null; }

const WORDS = { runs: "m", scale: "s", left: "x", classes: "k", groups: "g", look: "c", head: "h", measure: "f" };

// Long lists of names go by their places, `3-7,9`, among all there are.
const LISTED = { left: () => shifted().map((condition) => condition.name), classes: everyClass };

function everyClass() { return [...new Set(page.data.runs.flatMap((run) => (run.samples ? run.samples.classes : [])))]; }

function ranges(names, all) {
  const places = names.map((name) => all.indexOf(name)).filter((i) => i >= 0).sort((a, b) => a - b), found = [];
  for (const place of places) {
    const last = found[found.length - 1];
    if (last && last[1] === place - 1) last[1] = place; else found.push([place, place]);
  }
  return found.map(([a, b]) => (a === b ? `${a}` : `${a}-${b}`)).join(",");
}

function fromRanges(text, all) {
  if (typeof text !== "string" || !/^(\d+(-\d+)?(,\d+(-\d+)?)*)?$/.test(text)) return null;
  return text.split(",").filter(Boolean).flatMap((part) => {
    const [first, last = first] = part.split("-").map(Number);
    return all.slice(first, last + 1);
  });
}

function toHash() {
  const usual = initial(), parts = new URLSearchParams();
  for (const [name, word] of Object.entries(WORDS)) {
    const value = page.state[name], same = JSON.stringify(value) === JSON.stringify(usual[name]);
    if (!same) parts.set(word, JSON.stringify(name in LISTED ? ranges(value, LISTED[name]()) : value));
  }
  return parts.toString();
}

// Whatever an address holds, the state is one that the page can show.
function fromHash(text) {
  const state = initial(), parts = new URLSearchParams(text);
  for (const [name, word] of Object.entries(WORDS)) {
    if (!parts.has(word)) continue;
    try {
      const told = JSON.parse(parts.get(word)), value = name in LISTED ? fromRanges(told, LISTED[name]()) : told;
      if (LEGAL[name](value)) state[name] = value;
    } catch { /* not one of ours */ }
  }
  return state;
}

const strings = (value) => Array.isArray(value) && value.every((item) => typeof item === "string");
const LEGAL = {
  runs: (v) => Array.isArray(v) && v.length > 0 && v.every((i) => Number.isInteger(i) && page.data.runs[i]),
  scale: (v) => typeof v === "string" && Object.prototype.hasOwnProperty.call(SCALES, v), left: strings,
  classes: (v) => v === null || strings(v),
  groups: (v) => v !== null && typeof v === "object" && Object.values(v).every(strings),
  look: (v) => v === "mean" || page.conditions.some((c) => c.name === v),
  head: (v) => v === null || page.data.runs.some((run) => run.heads.includes(v)),
  measure: (v) => v === null || typeof v === "string",
};

function choose(changes) {
  Object.assign(page.state, changes);
  const hash = toHash();
  history.replaceState(null, "", `#${hash}`);
  draw();
}

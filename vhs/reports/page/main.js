// From the block of data to the page; again whenever the reader chooses.

const SECTIONS = {
  choice: (place) => put(place, controls()), words: (place) => { place.textContent = choiceInWords(); place.hidden = !place.textContent; },
  heads: drawHeads, card: drawCard, accuracy: drawAccuracy, rollup: drawRollup, maps: drawMaps, measures: drawMeasures,
};

function draw() {
  const focus = document.activeElement && focusPath(document.activeElement);
  for (const [name, make] of Object.entries(SECTIONS)) {
    const place = document.getElementById(name);
    if (place) make(place);
  }
  if (focus) { const again = focus(); if (again) again.focus({ preventScroll: true }); }
}

// How to find what had the focus in the page as it is drawn anew.
function focusPath(element) {
  if (element.id) return () => document.getElementById(element.id);
  const name = element.getAttribute("aria-label") || element.textContent, tag = element.tagName, section = element.closest("[id]");
  if (!section || !name) return null;
  const at = [...section.querySelectorAll(tag)].indexOf(element);
  return () => (document.getElementById(section.id) || document).querySelectorAll(tag)[at];
}

function drawFigures() {
  for (const figure of page.data.figures) {
    const place = document.getElementById(figure.place), url = URL.createObjectURL(new Blob([figure.svg], { type: "image/svg+xml" }));
    place.prepend(h("img", { src: url, alt: figure.words, class: "figure" }));
    if (figure.table !== null) place.append(folded("As a table", () => wholeTable(page.data.tables[figure.table])));
  }
  const place = document.getElementById("tables");
  put(place, page.data.tables.map((table) => folded(`${table.title} (${table.kind}, ${plural(table.rows, "row")})`, () => wholeTable(table))));
}

async function start() {
  page.source = `<!doctype html>\n${document.documentElement.outerHTML}\n`;
  document.body.append(tip);
  try {
    page.data = unpack(await inflate(document.getElementById("data").textContent));
  } catch (error) {
    document.getElementById("trouble").textContent = `The numbers of this page cannot be read (${error.message}). A browser of 2023 or later is needed; the page may have been cut off.`;
    document.getElementById("trouble").hidden = false;
    return;
  }
  page.conditions = everyCondition(page.data.runs);
  const saved = document.querySelector('meta[name="vhs-state"]').content;
  page.state = fromHash(location.hash.slice(1) || saved);
  document.documentElement.classList.add("live");
  drawFigures();
  draw();
  addEventListener("hashchange", () => { page.state = fromHash(location.hash.slice(1)); draw(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  document.documentElement.dataset.ready = "yes";
}

start();

// Elements, from names, attributes and children. Words of tables only ever become text.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value === "boolean") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function h(tag, attributes, ...children) { return filled(document.createElement(tag), attributes, children); }
function quiet(...words) { return h("p", { class: "quiet" }, ...words); }
function s(tag, attributes, ...children) { return filled(document.createElementNS(SVG, tag), attributes, children); }
function put(place, ...children) { place.replaceChildren(...children.flat(Infinity).filter(Boolean)); return place; }

function select(id, values, chosen, onChange, words = (value) => value) {
  return h("select", { id, onchange: (event) => onChange(event.target.value) }, values.map((value) => h("option", { value, selected: value === chosen }, words(value))));
}

// Layers down, heads across; cellAt gives what stands in a place, or nothing where there is no head.
function gridTable(layers, width, cellAt, attributes) {
  const numbers = (count, make) => Array.from({ length: count }, (_, i) => make(i));
  return h("table", { class: width > 16 ? "heads small" : "heads", ...attributes },
    h("tbody", {}, numbers(layers, (layer) => h("tr", {}, h("th", { scope: "row" }, layer), numbers(width, (head) => h("td", {}, cellAt(layer, head) || h("span", { class: "none" })))))),
    h("tfoot", {}, h("tr", {}, h("th"), numbers(width, (head) => h("th", { scope: "col" }, head)))));
}

// Numbers for people: signed where they are effects, never "-0.0".
function fixed(value, digits, signed = false) {
  if (value === null || !Number.isFinite(value)) return "–";
  const text = Math.abs(value).toFixed(digits), zero = Number(text) === 0;
  return (value < 0 && !zero ? "−" : signed && !zero ? "+" : "") + text;
}
function share(value) { return `${fixed(value * 100, 1)}%`; }
function probability(value) {
  if (!Number.isFinite(value)) return "–";
  if (value < 0.001) return value.toExponential(0).replace("e-", "e−");
  return value.toFixed(value < 0.1 ? 3 : 2).replace(/^0/, "");
}
function count(value) { return Number(value).toLocaleString("en"); }
function plural(number, word) { return `${count(number)} ${word}${number === 1 ? "" : "s"}`; }

// One box of words beside whatever is pointed at or has the focus.
const tip = h("div", { id: "tip", role: "tooltip", hidden: true });
function tipped(element, lines) {
  const show = () => {
    put(tip, lines().map((line, index) => h(index ? "div" : "strong", {}, line)));
    tip.hidden = false;
    const box = element.getBoundingClientRect(), own = tip.getBoundingClientRect();
    const left = Math.min(box.left + scrollX, scrollX + innerWidth - own.width - 12);
    tip.style.left = `${Math.max(left, 4)}px`;
    tip.style.top = `${box.bottom + scrollY + (box.bottom + own.height + 8 > innerHeight ? -own.height - box.height - 6 : 6)}px`;
  };
  for (const name of ["mouseenter", "focus"]) element.addEventListener(name, show);
  for (const name of ["mouseleave", "blur"]) element.addEventListener(name, () => { tip.hidden = true; });
  return element;
}

function save(name, parts, type) {
  const link = h("a", { href: URL.createObjectURL(new Blob(parts, { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

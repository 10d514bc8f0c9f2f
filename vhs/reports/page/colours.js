// Colours, on light and on dark. Blue to red with the paper between, and a scale from dark to bright: both are told
// apart with any colour vision.

const LINES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const ON_DARK = ["#4fa8dd", "#f08a3c", "#2fc79a", "#dd9cc0", "#e8b44c", "#8fd0f4"];
const RED = [[244, 165, 130], [178, 24, 43]], BLUE = [[146, 197, 222], [33, 102, 172]];
const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
const NONE = "var(--missing)";

function between(stops, share) {
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1), low = Math.min(Math.floor(at), stops.length - 2);
  const mixed = stops[low].map((part, i) => Math.round(part + (stops[low + 1][i] - part) * (at - low)));
  return `rgb(${mixed.join(",")})`;
}

function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

// Red where a head helps, blue where removing it helps; `most` is the end of the scale.
function diverging(value, most) {
  if (!Number.isFinite(value)) return NONE;
  const middle = isDark() ? [48, 52, 58] : [247, 247, 247];
  return between([middle, ...(value < 0 ? BLUE : RED)], Math.abs(value) / (most || 1));
}

function sequential(value, low, high) {
  return Number.isFinite(value) ? between(RAMP, (value - low) / (high - low || 1)) : NONE;
}

// Black or white, whichever is read on a colour.
function inkOn(colour) {
  const [red, green, blue] = (colour.match(/\d+/g) || [200, 200, 200]).map(Number);
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#000" : "#fff";
}

function line(index) { return (isDark() ? ON_DARK : LINES)[index % LINES.length]; }
function ofLayer(layer, layers) {
  const share = layers > 1 ? layer / (layers - 1) : 0.3;
  return between(RAMP, isDark() ? 0.25 + 0.75 * share : 0.88 * share);
}

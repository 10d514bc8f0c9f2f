// What heads look at, laid over the images: a canvas of patches over each picture.

function overlays(head, runs) {
  const files = page.data.maps.filter((file) => file.heads.includes(head) && (!runs || runs.some((run) => run.model_id === file.model_id)));
  return files.map((file) => h("article", {}, h("h4", {}, `What it looks at: ${file.name}`), overlayRows(file, file.of_heads[file.heads.indexOf(head)])));
}

function overlayRows(file, own) {
  const told = own.scores ? "The images that drive it most: the score is what it writes for the true class (centred logits)." : "Images of the file.";
  return [quiet(`${told} ${file.looker}`), file.conditions.map((name, c) => h("div", { class: "strip" }, h("p", {}, h("strong", {}, name)),
    own.samples.map((s, i) => {
      const sample = file.samples[s], answer = sample.answers[c];
      const words = [sample.label || sample.name, answer && answer !== sample.label ? `answered ${answer}` : null, own.scores && !c ? fixed(own.scores[i], 2, true) : null];
      return h("figure", { class: "overlay" }, h("div", {}, picture(file, s * file.conditions.length + c), heat(own, c * own.samples.length + i)), h("figcaption", {}, words.filter(Boolean).join("; ")));
    })))];
}

function picture(file, place) {
  const { bytes, ends, type } = file.pictures;
  file.urls = file.urls || {};
  file.urls[place] = file.urls[place] || URL.createObjectURL(new Blob([bytes.subarray(ends[place - 1] || 0, ends[place])], { type }));
  return h("img", { src: file.urls[place], alt: "" });
}

// Attention as a veil from clear to yellow, the image's own most at full strength.
function heat(own, place) {
  const [rows, columns] = own.grid, size = rows * columns;
  const canvas = h("canvas", { width: columns, height: rows, "aria-hidden": "true" });
  const context = canvas.getContext("2d"), shown = context.createImageData(columns, rows);
  for (let i = 0; i < size; i += 1) {
    const share = own.values[place * size + i] / 255;
    const [red, green, blue] = between([[0, 0, 4], [120, 28, 109], [237, 105, 37], [252, 255, 164]], share).match(/\d+/g).map(Number);
    shown.data.set([red, green, blue, 55 + 165 * share], 4 * i);
  }
  context.putImageData(shown, 0, 0);
  return canvas;
}

function drawMaps(place) {
  const heads = [...new Set(page.data.maps.flatMap((item) => item.heads))], head = heads.includes(page.state.head) ? page.state.head : heads[0];
  const left = page.data.maps.reduce((sum, item) => sum + item.left_out, 0);
  put(place, h("p", {}, h("label", {}, "Head ", select("map-head", heads, head, (name) => choose({ head: name })))),
    left ? quiet(`Maps of ${plural(left, "head")} that matter less are not in the page; vhs plot draws them from the file.`) : null, overlays(head, null));
}

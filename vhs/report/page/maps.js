// What heads look at, laid over the images: a canvas of patches over each picture.

function overlays(head, runs) {
  const files = page.data.maps.filter((file) => file.heads.includes(head) && (!runs || runs.some((run) => run.model_id === file.model_id)));
  return files.map((file) => h("article", {}, h("h4", {}, `What it looks at: ${file.name}`), overlayRows(file, head)));
}

function overlayRows(file, head) {
  const u = file.heads.indexOf(head), top = file.top[head];
  const samples = top ? top.map(([sample]) => sample) : file.samples.map((_, i) => i);
  const told = top ? "The images that drive it most: the score is what it writes for the true class (centred logits)." : "Images of the file.";
  return [h("p", { class: "quiet" }, `${told} ${file.looker}`), file.conditions.map((name, c) => h("div", { class: "strip" }, h("p", {}, h("strong", {}, name)),
    samples.map((sample, i) => {
      const place = (c * file.samples.length + sample), answer = file.answers[c][sample];
      const words = [file.labels[sample] || file.samples[sample], answer && answer !== file.labels[sample] ? `answered ${answer}` : null, top && !c ? fixed(top[i][1], 2, true) : null].filter(Boolean);
      return h("figure", { class: "overlay" }, h("div", {}, picture(file, place), heat(file, u, place)), h("figcaption", {}, words.join("; ")));
    })))];
}

function picture(file, place) {
  const bytes = file.pictures.bytes.subarray(file.pictures.ends[place - 1] || 0, file.pictures.ends[place]);
  file.urls = file.urls || {};
  file.urls[place] = file.urls[place] || URL.createObjectURL(new Blob([bytes], { type: file.pictures.type }));
  return h("img", { src: file.urls[place], alt: "" });
}

// Attention as a veil from clear to yellow, the image's own most at full strength.
function heat(file, u, place) {
  const [rows, columns] = file.grids[u], start = file.starts[u] + place * rows * columns;
  const canvas = h("canvas", { width: columns, height: rows, "aria-hidden": "true" });
  const context = canvas.getContext("2d"), shown = context.createImageData(columns, rows);
  for (let i = 0; i < rows * columns; i += 1) {
    const share = file.values[start + i] / 255;
    const [red, green, blue] = between([[0, 0, 4], [120, 28, 109], [237, 105, 37], [252, 255, 164]], share).match(/\d+/g).map(Number);
    shown.data.set([red, green, blue, 55 + 165 * share], 4 * i);
  }
  context.putImageData(shown, 0, 0);
  return canvas;
}

function drawMaps(place) {
  const file = page.data.maps[0];
  const heads = page.data.maps.flatMap((item) => item.heads), head = heads.includes(page.state.head) ? page.state.head : file.heads[0];
  const select = h("select", { id: "map-head", onchange: (event) => choose({ head: event.target.value }) },
    [...new Set(heads)].map((name) => h("option", { value: name, selected: name === head }, name)));
  put(place, h("p", {}, h("label", {}, "Head ", select)), overlays(head, null));
}

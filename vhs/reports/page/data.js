// The block of numbers in the page: base64, deflated, a description and arrays (vhs/reports/arrays.py).

const ARRAYS = {
  i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, u4: Uint32Array, f8: Float64Array,
};

async function inflate(text) {
  const packed = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Response(stream).arrayBuffer();
}

// The tree of a block, with typed arrays at its leaves.
function unpack(buffer) {
  const size = new DataView(buffer).getUint32(0, true), start = 4 + size;
  const revive = (value) => {
    if (Array.isArray(value)) return value.map(revive);
    if (value === null || typeof value !== "object") return value;
    if (value.$) return new ARRAYS[value.$[0]](buffer, start + value.$[1], value.$[2]);
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, revive(item)]));
  };
  const data = revive(JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size))));
  return data;
}

// A table's columns as functions of the row: numbers, words or null.
function columnsOf(table) {
  return table.columns.map((column) => {
    if ("all" in column) return { name: column.name, at: () => column.all, number: typeof column.all === "number" };
    if (column.words) return { name: column.name, at: (row) => column.words[column.codes[row]], number: false };
    return {
      name: column.name, number: true,
      at: (row) => (Number.isNaN(column.values[row]) ? null : column.values[row]),
    };
  });
}

// The rows of a table as objects.
function rowsOf(table) {
  const columns = columnsOf(table);
  return Array.from({ length: table.rows }, (_, row) => Object.fromEntries(columns.map((c) => [c.name, c.at(row)])));
}

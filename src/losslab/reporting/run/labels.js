// Reads the labels of a palette PNG that pictures.py wrote: 8 bits a pixel, no filter, not interlaced.
// It reads the file's bytes, not a canvas: browsers that guard against fingerprinting change the pixels of a canvas.
async function readLabels(uri) {
  const file = Uint8Array.from(atob(uri.slice(uri.indexOf(",") + 1)), (letter) => letter.charCodeAt(0));
  const view = new DataView(file.buffer);
  const width = view.getUint32(16);
  const height = view.getUint32(20);
  const packed = [];
  for (let at = 8; at < file.length; at += 12 + view.getUint32(at)) {
    const kind = String.fromCharCode(...file.subarray(at + 4, at + 8));
    if (kind === "IDAT") packed.push(file.subarray(at + 8, at + 8 + view.getUint32(at)));
  }
  const rows = new Uint8Array(await new Response(new Blob(packed).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer());
  const labels = new Uint8Array(width * height);
  for (let y = 0; y < height; y += 1) labels.set(rows.subarray(y * (width + 1) + 1, (y + 1) * (width + 1)), y * width);
  return labels;
}

// Soft edges for a mask, in every browser: canvases of Safari have no filters.

const PASSES = 3;

/** Return a canvas's opacity as a grey PNG, white where it is opaque; its edges are softened over `radius` pixels. */
export async function asMask(canvas, radius) {
  const { width, height } = canvas;
  const pixels = canvas.getContext("2d").getImageData(0, 0, width, height);
  const { data } = pixels;
  let values = new Uint8ClampedArray(width * height);
  for (let index = 0; index < values.length; index += 1) values[index] = data[4 * index + 3];
  // Three means in a row are close to a Gaussian.
  const reach = Math.round(radius / PASSES);
  for (let pass = 0; reach > 0 && pass < PASSES; pass += 1) {
    values = means(values, { lines: height, lineStep: width, length: width, step: 1 }, reach);
    values = means(values, { lines: width, lineStep: 1, length: height, step: width }, reach);
  }
  for (let index = 0; index < values.length; index += 1) {
    data.fill(values[index], 4 * index, 4 * index + 3);
    data[4 * index + 3] = 255;
  }
  const mask = new OffscreenCanvas(width, height);
  mask.getContext("2d").putImageData(pixels, 0, 0);
  return mask.convertToBlob({ type: "image/png" });
}

/** Replace every value by the mean of those up to `reach` before and after it in its line; the ends go on outside. */
function means(values, { lines, lineStep, length, step }, reach) {
  const result = new Uint8ClampedArray(values.length);
  for (let line = 0; line < lines; line += 1) {
    const at = (index) => values[line * lineStep + Math.min(length - 1, Math.max(0, index)) * step];
    let sum = 0;
    for (let index = -reach; index <= reach; index += 1) sum += at(index);
    for (let index = 0; index < length; index += 1) {
      result[line * lineStep + index * step] = sum / (2 * reach + 1);
      sum += at(index + reach + 1) - at(index - reach);
    }
  }
  return result;
}

// Images as the server takes them: upright, not larger than what is generated, and in a shape of their own.

import { text } from "../language/text.js";
import { Refusal } from "../shell/server.js";

const JPEG_QUALITY = 0.95;
const HEIC = /^image\/hei[cf]/;

/**
 * Return an image file scaled down to the model's limits: `{file, width, height, was}`; `was` is its own size.
 *
 * `limits` is `input_limits` of `GET /info`. A file that fits stays as it is, and so does a HEIC file that this browser
 * cannot read: perhaps the server can, and then the sizes are null. Throws Refusal for any other file that cannot be
 * read, and for one that is too large to send.
 */
export async function scaledDown(file, limits) {
  const image = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => null);
  if (image === null && !HEIC.test(file.type)) throw new Refusal(text("inputs.unreadable"), { param: "image" });
  if (image === null) return { file: checked(file, limits), width: null, height: null, was: null };
  const was = [image.width, image.height];
  const pixels = image.width * image.height;
  const scale = Math.min(1, Math.sqrt(limits.generated_pixels / pixels), limits.side / Math.max(...was));
  if (scale === 1 && file.size <= limits.mib * 2 ** 20) return { file, width: was[0], height: was[1], was };
  const [width, height] = was.map((side) => Math.max(1, Math.floor(side * scale)));
  const canvas = halved(image, width, height);
  return { file: checked(await encoded(canvas, file.type, limits), limits), width, height, was };
}

/** Return an image, a Blob, in another size: `stretch` fills it, `pad` fits all of it in and extends its edges. */
export async function fitted(blob, [width, height], mode) {
  const image = await createImageBitmap(blob, { imageOrientation: "from-image" });
  const canvas = new OffscreenCanvas(width, height);
  const context = smooth(canvas);
  if (mode === "stretch") {
    context.drawImage(image, 0, 0, width, height);
  } else {
    const scale = Math.min(width / image.width, height / image.height);
    const [across, down] = [image.width, image.height].map((side) => Math.max(1, Math.round(side * scale)));
    const [left, top] = [Math.floor((width - across) / 2), Math.floor((height - down) / 2)];
    context.drawImage(image, left, top, across, down);
    extendEdges(context, { left, top, right: width - across - left, bottom: height - down - top });
  }
  return canvas.convertToBlob({ type: "image/png" });
}

/** Fill margins of a canvas with the pixels at the edges of what is between them. */
export function extendEdges(context, { left, top, right, bottom }) {
  const { canvas } = context;
  const { width, height } = canvas;
  const inner = height - top - bottom;
  context.save();
  context.imageSmoothingEnabled = false;
  if (left) context.drawImage(canvas, left, top, 1, inner, 0, top, left, inner);
  if (right) context.drawImage(canvas, width - right - 1, top, 1, inner, width - right, top, right, inner);
  if (top) context.drawImage(canvas, 0, top, width, 1, 0, 0, width, top);
  if (bottom) context.drawImage(canvas, 0, height - bottom - 1, width, 1, 0, height - bottom, width, bottom);
  context.restore();
}

/** Scale in steps of a half: one step from a large photo would skip most of its pixels. */
function halved(image, width, height) {
  let source = image;
  for (;;) {
    const across = Math.max(width, Math.ceil(source.width / 2));
    const down = Math.max(height, Math.ceil(source.height / 2));
    const canvas = new OffscreenCanvas(across, down);
    smooth(canvas).drawImage(source, 0, 0, across, down);
    if (across === width && down === height) return canvas;
    source = canvas;
  }
}

function smooth(canvas) {
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  return context;
}

/** Return a photo as JPEG and anything else as PNG, unless that is too large to send. */
async function encoded(canvas, type, { mib }) {
  const exact = type === "image/jpeg" ? null : await canvas.convertToBlob({ type: "image/png" });
  if (exact !== null && exact.size <= mib * 2 ** 20) return exact;
  const context = canvas.getContext("2d");
  // JPEG has no transparency; the server lays transparent images on white, too.
  Object.assign(context, { globalCompositeOperation: "destination-over", fillStyle: "white" });
  context.fillRect(0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/jpeg", quality: JPEG_QUALITY });
}

function checked(file, { mib }) {
  if (file.size <= mib * 2 ** 20) return file;
  const size = (file.size / 2 ** 20).toFixed(1);
  throw new Refusal(text("inputs.too_large", { size, limit: mib }), { param: "image" });
}

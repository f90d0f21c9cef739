// The images of a request, as its JSON holds them.

import { asDataUrl } from "../form/fields.js";
import { fitted } from "./scaling.js";

/** Return the image fields of a request that starts from `source`, as SourceImage reads it; none for null. */
export async function imageFields(source) {
  if (source === null) return {};
  const { image, mask, more, guide, size, fit } = source;
  const guiding = guide === null ? {} : await guideFields(guide);
  if (image === null) return guiding;
  // The server crops what has another shape; it has no other way to fit it.
  const sent = async (file) => asDataUrl(size === null || fit === "crop" ? file : await fitted(file, size, fit));
  const first = await sent(image);
  const images = more.length ? [first, ...(await Promise.all(more.map(asDataUrl)))] : first;
  return { ...guiding, image: images, ...(mask === null ? {} : { mask: await sent(mask) }) };
}

async function guideFields({ image, preprocessor, scale }) {
  const fields = { control_image: await asDataUrl(image), control_preprocessor: preprocessor };
  return Number.isNaN(scale) ? fields : { ...fields, controlnet_conditioning_scale: scale };
}

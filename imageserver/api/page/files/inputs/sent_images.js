// The images of a request, as its JSON holds them.

import { asDataUrl } from "../form/fields.js";
import { fitted } from "./scaling.js";

/** Return the image fields of a request that starts from `source`, as SourceImage reads it; none for null. */
export async function imageFields(source) {
  if (source === null) return {};
  const { image, mask, size, fit } = source;
  // The server crops what has another shape; it has no other way to fit it.
  const sent = async (file) => asDataUrl(size === null || fit === "crop" ? file : await fitted(file, size, fit));
  return { image: await sent(image), ...(mask === null ? {} : { mask: await sent(mask) }) };
}

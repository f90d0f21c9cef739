// A request as the server reads it.

import { imageFields } from "../inputs/sent_images.js";

// As many digits as 64 bits may have, and some more for the server to refuse.
const WHOLE = /^-?\d{1,24}$/;

/** Return a request as JSON; a seed may have more digits than a JavaScript number can hold. */
export async function asJson({ fields, seed, source }) {
  const content = { ...fields, ...(await imageFields(source)) };
  const written = seed === null ? "null" : WHOLE.test(seed) ? BigInt(seed).toString() : JSON.stringify(seed);
  return `{"seed": ${written}, ${JSON.stringify(content).slice(1)}`;
}

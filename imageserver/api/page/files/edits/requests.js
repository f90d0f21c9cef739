// Requests that begin with a finished image, and with the settings that it was made with.

import { languageOf } from "../prompts/language.js";

// What is of the image before: another one has its own.
const LEFT = ["aspect_ratio", "width", "height", "size", "strength", "upscale", "layers"];
const VARIATIONS = 4;
const FACTOR = 2;

/** Return the request that changes an image, a Blob, as an instruction says. */
export function edited(request, prompt, file) {
  return startingFrom(request, file, { prompt, n: 1 }, null);
}

/** Return the request for four variations of an image; `seed` is null for random ones. */
export function varied(request, { strength, seed }, file) {
  return startingFrom(request, file, { strength, n: VARIATIONS }, seed);
}

/** Return the request for the same image, twice as wide and high. */
export function enlarged(request, seed) {
  return { ...request, fields: { ...request.fields, n: 1, upscale: FACTOR }, seed };
}

function startingFrom({ fields, shown }, image, changed, seed) {
  const kept = Object.fromEntries(Object.entries(fields).filter(([name]) => !LEFT.includes(name)));
  if (changed.prompt !== undefined) delete kept.language;
  const language = changed.prompt === undefined ? {} : languageOf(changed.prompt);
  const source = { image, mask: null, more: [], guide: null, size: null, fit: "crop" };
  return { fields: { ...kept, ...language, ...changed }, shown, seed, source, hasSource: true };
}

// The language of a prompt: it chooses the quality words.

/** Return the field of a request that names a prompt's language, where it is not English. */
export function languageOf(prompt) {
  return /\p{Script=Han}/u.test(prompt) ? { language: "zh" } : {};
}

// The page's texts in the language that the browser prefers, or that its user has chosen.

import { readPreference, writePreference } from "../storage/preferences.js";

// The tag of each language, as HTML wants it.
const TAGS = { en: "en", zh: "zh-CN" };
const ATTRIBUTES = { title: "title", label: "aria-label", alt: "alt", placeholder: "placeholder" };

const tables = { en: {}, zh: {} };

/** The name of the page's language: `en` or `zh`. */
export const language = chosen();

/** Add a room's texts: `{en: {key: text}, zh: {key: text}}`, with the same keys in the same order. */
export function addTexts(texts) {
  const keys = Object.keys(texts.en);
  for (const [name, table] of Object.entries(tables)) {
    // The joined page has no keys in the second table.
    Object.values(texts[name]).forEach((sentence, index) => { table[keys[index]] = sentence; });
  }
}

/** Return a text; `{name}` in it becomes `values.name`. */
export function text(key, values = {}) {
  return tables[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/**
 * Write the texts into the elements that name them, templates included.
 *
 * `data-text="key"` sets the text, `data-title`, `data-label`, `data-alt` and `data-placeholder` the attributes.
 */
export function translate(root) {
  for (const element of root.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
  for (const [name, attribute] of Object.entries(ATTRIBUTES)) {
    const named = root.querySelectorAll(`[data-${name}]`);
    for (const element of named) element.setAttribute(attribute, text(element.dataset[name]));
  }
  for (const template of root.querySelectorAll("template")) translate(template.content);
}

/** Let the button show the page in the other language, after `leaving()`; the form and the requests are remembered. */
export function offerOtherLanguage(button, leaving) {
  const other = language === "en" ? "zh" : "en";
  document.documentElement.lang = TAGS[language];
  button.lang = TAGS[other];
  button.textContent = tables[other]["language.name"];
  button.addEventListener("click", () => {
    writePreference("language", other);
    leaving();
    location.reload();
  });
}

function chosen() {
  const kept = readPreference("language");
  if (kept in TAGS) return kept;
  const names = navigator.languages.map((tag) => tag.split("-")[0]);
  return names.find((name) => name in TAGS) ?? "en";
}

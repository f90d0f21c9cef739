// What a person has chosen for all tabs: the language, for example.

import { read, write } from "./store.js";

/** Return a choice, or an empty string. */
export function readPreference(name) {
  return read("localStorage", name) ?? "";
}

export function writePreference(name, value) {
  write("localStorage", name, value);
}

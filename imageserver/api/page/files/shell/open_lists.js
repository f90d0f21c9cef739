// The lists that a person has opened: they stay open when the page is shown in the other language.

import { erase, read, write } from "../storage/store.js";

const NAME = "open lists";

export function keepOpenLists() {
  write("sessionStorage", NAME, [...document.querySelectorAll("details[open][id]")].map(({ id }) => id));
}

/** Open what was open before. */
export function openKeptLists() {
  for (const id of read("sessionStorage", NAME) ?? []) document.getElementById(id).open = true;
  erase("sessionStorage", NAME);
}

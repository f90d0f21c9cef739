// Keys that work everywhere on the page, and the sheet that lists them.

import { text } from "../language/text.js";
import { readPreference, writePreference } from "../storage/preferences.js";

const byId = (id) => document.getElementById(id);
const WRITTEN_IN = "textarea, select, input:not([type=checkbox], [type=radio], [type=range], [type=file])";

export class Keyboard {
  #sheet = byId("sheet");
  #list = byId("keys");
  #actions = new Map();

  constructor() {
    const check = byId("single-keys");
    // Who speaks to the computer can turn off keys that a spoken word would press (WCAG 2.1.4).
    check.checked = readPreference("single keys") !== "off";
    check.addEventListener("change", () => writePreference("single keys", check.checked ? "" : "off"));
    byId("help").addEventListener("click", () => this.#sheet.showModal());
    byId("sheet-close").addEventListener("click", () => this.#sheet.close());
    addEventListener("keydown", (event) => this.#press(event));
    this.add("?", text("keys.help"), () => this.#sheet.showModal());
  }

  /** List a key with what it does; `action` is called when it is pressed, but not while a person writes. */
  add(key, sentence, action) {
    this.#actions.set(key, action);
    this.list(key, sentence);
  }

  /** List a key that something else listens to. */
  list(key, sentence) {
    const [term, said, shown] = ["dt", "dd", "kbd"].map((name) => document.createElement(name));
    shown.textContent = key;
    said.textContent = sentence;
    term.append(shown);
    this.#list.append(term, said);
  }

  #press(event) {
    const action = this.#actions.get(event.key);
    const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey;
    if (!action || !isPlain || !byId("single-keys").checked || document.querySelector("dialog[open]")) return;
    if (event.target.closest?.(WRITTEN_IN)) return;
    event.preventDefault();
    action();
  }
}

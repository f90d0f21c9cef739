// Styles as chips: each adds its words to the prompt that is sent; the prompt in the form stays as it was written.

import { language, text } from "../language/text.js";
import { languageOf } from "./language.js";

const byId = (id) => document.getElementById(id);

export class StyleChips {
  #box = byId("styles");
  #list = byId("styles-list");
  #words = byId("styles-words");
  #prompt = byId("prompt");
  #styles = [];
  #chosen = [];

  /** `changed()` is called when another style is chosen. */
  constructor(changed) {
    this.#list.addEventListener("click", ({ target }) => {
      if (!target.matches("button")) return;
      const { value: id } = target;
      this.choose(this.#chosen.includes(id) ? this.#chosen.filter((each) => each !== id) : [...this.#chosen, id]);
      changed();
    });
    this.#prompt.addEventListener("input", () => this.show());
  }

  /** The ids of those that are chosen, in the order in which they were. */
  get chosen() {
    return this.#chosen;
  }

  /** Show the server's styles: `id`, and by language `name` and `words`. */
  offer(styles) {
    this.#styles = styles;
    this.#box.hidden = styles.length === 0;
    this.#list.replaceChildren(...styles.map(({ id, name }) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", className: "chip", value: id, textContent: name[language] });
      return button;
    }));
    this.show();
  }

  /** Choose exactly these. */
  choose(ids) {
    this.#chosen = ids;
    this.show();
  }

  /** Return a prompt with the words of the chosen styles, in its own language; a blank one stays blank. */
  added(prompt) {
    const words = this.#wordsFor(prompt);
    return prompt.trim() && words ? prompt.trimEnd() + separatorOf(prompt) + words : prompt;
  }

  /** Show what is chosen, and the words that are added. */
  show() {
    for (const button of this.#list.children) button.setAttribute("aria-pressed", this.#chosen.includes(button.value));
    const words = this.#wordsFor(this.#prompt.value);
    this.#words.textContent = words && text("prompts.styles.added", { words });
  }

  /** Styles that this server does not offer add nothing. */
  #wordsFor(prompt) {
    const spoken = languageOf(prompt).language ?? "en";
    const found = this.#chosen.map((id) => this.#styles.find((style) => style.id === id)).filter(Boolean);
    return found.map(({ words }) => words[spoken]).join(separatorOf(prompt));
  }
}

function separatorOf(prompt) {
  return languageOf(prompt).language === "zh" ? "，" : ", ";
}

// The list of LoRAs: which of them to use, at what scale, what their profiles recommend, and the words that they know.

import { text } from "../language/text.js";
import { numberOf, plain } from "./fields.js";
import { LoraPreviews } from "./lora_previews.js";

// More are searched faster than read.
const MANY = 6;

export class LoraList {
  #box = document.getElementById("lora-box");
  #list = document.getElementById("lora-list");
  #query = document.getElementById("lora-query");
  #previews = new LoraPreviews(this.#box);
  #rows = [];
  // What is to be chosen once the server has named its LoRAs; null afterwards.
  #awaited = [];

  /** `changed()` is called when another LoRA is chosen, `worded(word)` when a person wants a trigger word in the prompt. */
  constructor({ changed, worded }) {
    this.#list.addEventListener("change", changed);
    this.#list.addEventListener("click", ({ target }) => { if (target.matches(".words button")) worded(target.textContent); });
    this.#query.addEventListener("input", () => this.#search());
    // It would send the form.
    this.#query.addEventListener("keydown", (event) => { if (event.key === "Enter" && !event.ctrlKey) event.preventDefault(); });
  }

  /** Show the LoRAs from /v1/loras with the limits of their scale; keep the selection. */
  offer(loras, limits) {
    const chosen = this.picked();
    this.#awaited = null;
    this.#rows = loras.map((lora) => row(lora, limits));
    this.#list.replaceChildren(...this.#rows.map((each) => each.element));
    this.#box.hidden = loras.length === 0;
    this.#query.hidden = loras.length <= MANY;
    this.#previews.expect(new Map(this.#rows.filter(({ lora }) => lora.has_preview).map(({ lora, image }) => [lora.id, image])));
    this.choose(chosen);
  }

  /** Return the LoRAs of a request. */
  chosen() {
    return this.#rows.filter((each) => each.check.checked).map(({ lora, scale }) => {
      const strength = numberOf(scale);
      return strength === null ? { name: lora.id } : { name: lora.id, scale: strength };
    });
  }

  /** The names of the server's LoRAs. */
  get names() {
    return this.#rows.map(({ lora }) => lora.id);
  }

  /** Return the LoRAs that are checked, with their scales as they are, right or wrong. */
  picked() {
    const checked = this.#rows.filter((each) => each.check.checked);
    return this.#awaited ?? checked.map(({ lora, scale }) => ({ name: lora.id, scale: scale.value }));
  }

  /** Select exactly these, as soon as they are there. */
  choose(chosen) {
    if (this.#awaited !== null) this.#awaited = chosen;
    for (const { lora, check, scale } of this.#rows) {
      const found = chosen.find((each) => each.name === lora.id);
      check.checked = found !== undefined;
      scale.value = found?.scale ?? lora.scale;
    }
    this.#search();
  }

  /** Return what the first chosen LoRA that recommends a field recommends for it. */
  recommended(field) {
    return this.#rows.find(({ check, lora }) => check.checked && lora[field] !== null)?.lora[field];
  }

  /** Show those that have all words of the search, and those that are chosen. */
  #search() {
    const words = this.#query.value.toLowerCase().split(/\s+/);
    for (const { lora, element, check } of this.#rows) {
      const content = [lora.id, lora.description, ...lora.trigger_words].join(" ").toLowerCase();
      element.hidden = !check.checked && !words.every((word) => content.includes(word));
    }
    document.getElementById("lora-none").hidden = this.#rows.some(({ element }) => !element.hidden);
  }
}

function row(lora, limits) {
  const element = document.getElementById("lora").content.firstElementChild.cloneNode(true);
  const check = element.querySelector("[type=checkbox]");
  const scale = element.querySelector("[type=number]");
  element.querySelector(".name").textContent = lora.id;
  element.querySelector(".hint").textContent = plain(lora.description);
  scale.setAttribute("aria-label", text("form.loras.scale.of", { name: lora.id }));
  Object.assign(scale, { min: limits.minimum, max: limits.maximum, value: lora.scale });
  const words = element.querySelector(".words");
  words.hidden = lora.trigger_words.length === 0;
  words.append(...lora.trigger_words.map(wordButton));
  return { lora, element, check, scale, image: element.querySelector("img") };
}

function wordButton(word) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", textContent: word, title: text("form.loras.word.add") });
  return button;
}

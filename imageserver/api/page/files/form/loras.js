// The list of LoRAs: which of them to use, at what scale, and what their profiles recommend.

import { text } from "../language/text.js";
import { numberOf, plain } from "./fields.js";

export class LoraList {
  #box = document.getElementById("lora-box");
  #list = document.getElementById("lora-list");
  #rows = [];
  #isOffered = false;

  /** `changed` is called when another LoRA is chosen. */
  constructor(changed) {
    this.#list.addEventListener("change", changed);
  }

  /** Show the LoRAs from /v1/loras with the limits of their scale; keep the selection. */
  offer(loras, limits) {
    const chosen = this.picked();
    this.#isOffered = true;
    this.#rows = loras.map((lora) => row(lora, limits));
    this.#list.replaceChildren(...this.#rows.map((each) => each.element));
    this.#box.hidden = loras.length === 0;
    this.choose(chosen);
  }

  /** Return the LoRAs of a request. */
  chosen() {
    return this.#rows.filter((each) => each.check.checked).map(({ lora, scale }) => {
      const strength = numberOf(scale);
      return strength === null ? { name: lora.id } : { name: lora.id, scale: strength };
    });
  }

  /** Whether the server has named its LoRAs. */
  get isOffered() {
    return this.#isOffered;
  }

  /** The names of the server's LoRAs. */
  get names() {
    return this.#rows.map(({ lora }) => lora.id);
  }

  /** Return the LoRAs that are checked, with their scales as they are, right or wrong. */
  picked() {
    return this.#rows.filter((each) => each.check.checked).map(({ lora, scale }) => ({ name: lora.id, scale: scale.value }));
  }

  /** Select exactly these. */
  choose(chosen) {
    for (const { lora, check, scale } of this.#rows) {
      const found = chosen.find((each) => each.name === lora.id);
      check.checked = found !== undefined;
      scale.value = found?.scale ?? lora.scale;
    }
  }

  /** Return what the first chosen LoRA that recommends a field recommends for it. */
  recommended(field) {
    return this.#rows.find(({ check, lora }) => check.checked && lora[field] !== null)?.lora[field];
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
  return { lora, element, check, scale };
}

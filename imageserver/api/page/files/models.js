// The model that answers requests which name none: which there are, and choosing another one.

import { offer } from "./fields.js";

export class ModelChoice {
  #field = document.getElementById("model-field");
  #select = document.getElementById("model");
  #usual = "";

  /** `chosen` is called with a name when a person chooses another model. */
  constructor(chosen) {
    this.#select.addEventListener("change", () => chosen(this.#select.value));
  }

  /** The model that is being loaded, empty where none is. */
  get loading() {
    return this.#select.disabled ? this.#select.value : "";
  }

  /** Show what /v1/models answers; where there is only one, there is nothing to choose. */
  offer(models) {
    offer(this.#select, models.map((model) => model.id));
    this.#usual = models.find((model) => model.default)?.id ?? "";
    this.#select.value = this.#usual;
    this.#field.hidden = models.length < 2;
  }

  /** Take no other choice while a model is loaded. */
  wait() {
    this.#select.disabled = true;
  }

  /** Take choices again, from the model that answers now. */
  settle(loaded) {
    this.#select.disabled = false;
    if (!loaded) this.#select.value = this.#usual;
  }
}

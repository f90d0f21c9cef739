// The list of models, and the choice of the default model.

import { offer } from "./fields.js";

export class ModelChoice {
  #field = document.getElementById("model-field");
  #select = document.getElementById("model");
  #default = "";

  /** `chosen` is called with a name when a person chooses another model. */
  constructor(chosen) {
    this.#select.addEventListener("change", () => chosen(this.#select.value));
  }

  /** The name of the model that is loading, or an empty string. */
  get loading() {
    return this.#select.disabled ? this.#select.value : "";
  }

  /** Show the models, the default one first; a single one leaves nothing to choose. */
  offer(models) {
    offer(this.#select, models.map((model) => model.id));
    this.#default = models[0]?.id ?? "";
    this.#select.value = this.#default;
    this.#field.hidden = models.length < 2;
  }

  /** Lock the choice while a model loads. */
  lock() {
    this.#select.disabled = true;
  }

  /** Unlock the choice, and return to the default model unless the chosen one was loaded. */
  unlock(loaded) {
    this.#select.disabled = false;
    if (!loaded) this.#select.value = this.#default;
  }
}

// The list of models: which one generates the next request, and which one is the default model.

import { text } from "../language/text.js";
import { offer } from "./fields.js";

const byId = (id) => document.getElementById(id);

export class ModelChoice {
  #field = byId("model-field");
  #select = byId("model");
  #button = byId("model-default");
  #default = "";
  // Chosen before the server has named its models.
  #early = null;
  #isAdmin = false;
  #loading = "";

  /** `chosen()` is called when a person chooses a model, `defaultChosen(name)` when one is to be the default model. */
  constructor({ chosen, defaultChosen }) {
    this.#select.addEventListener("change", () => {
      this.#show();
      chosen();
    });
    this.#button.addEventListener("click", () => defaultChosen(this.chosen));
  }

  /** The name of the model of the next request, empty until the server has named its models. */
  get chosen() {
    return this.#select.value;
  }

  /** The name of the model that was chosen instead of the default one, or null. */
  get other() {
    return this.#early ?? (this.chosen === this.#default ? null : this.chosen);
  }

  /** The name of the model that is loading to be the default one, or an empty string. */
  get loading() {
    return this.#loading;
  }

  /** Show the models, the default one first; a single one leaves nothing to choose. Returns whether the chosen one is there. */
  offer(models, isAdmin) {
    const { other } = this;
    this.#early = null;
    this.#isAdmin = isAdmin;
    offer(this.#select, models.map((model) => model.id));
    this.#default = this.#select.value = models[0].id;
    this.#field.hidden = models.length < 2;
    return this.choose(other);
  }

  /** Choose a model, or the default one for null; returns false where the server does not have it. */
  choose(name) {
    if (this.#default === "") {
      this.#early = name;
      return true;
    }
    const isThere = name === null || [...this.#select.options].some((option) => option.value === name);
    if (isThere) this.#select.value = name ?? this.#default;
    this.#show();
    return isThere;
  }

  /** Lock the choice while a model loads. */
  lock() {
    this.#loading = this.chosen;
    this.#select.disabled = this.#button.disabled = true;
  }

  unlock() {
    this.#loading = "";
    this.#select.disabled = this.#button.disabled = false;
  }

  #show() {
    const isDefault = this.chosen === this.#default;
    byId("model-hint").textContent = text(isDefault ? "form.model.default" : "form.model.other", { name: this.#default });
    this.#button.hidden = isDefault || !this.#isAdmin;
  }
}

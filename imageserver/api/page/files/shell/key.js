// The form for the API key, shown where the server requires one.

import { keep } from "./server.js";

const byId = (id) => document.getElementById(id);

export class KeyForm {
  #form = byId("key");
  #input = byId("key-input");
  #isAsking = false;

  /** `given` is called when a key was given. */
  constructor(given) {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      keep(this.#input.value.trim());
      this.#input.value = "";
      this.#form.hidden = true;
      this.#isAsking = false;
      given();
    });
  }

  /** Whether the server requires a key that it was not given. */
  get isAsking() {
    return this.#isAsking;
  }

  /** Ask for a key; the sentence says why. */
  ask(sentence) {
    this.#isAsking = true;
    this.#form.hidden = false;
    byId("key-error").textContent = sentence;
  }

  focus() {
    this.#input.focus();
  }
}

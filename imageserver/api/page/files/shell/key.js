// The form for the API key, shown where the server requires one, until it accepts one.

import { keep } from "./server.js";

const byId = (id) => document.getElementById(id);

export class KeyForm {
  #form = byId("key");
  #input = byId("key-input");
  // What it waits for: nothing, a person, or the server's word on the key that it was given.
  #waitsFor = null;

  /**
   * `given(isOther)` is called when a key was given, in the place of another one or not: a request then shows whether the
   * server accepts it.
   */
  constructor(given) {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      const isOther = keep(this.#input.value.trim(), { forAllTabs: byId("key-keep").checked });
      this.#waitsFor = "server";
      given(isOther);
    });
  }

  /** Whether the server requires a key that it was not given. */
  get isAsking() {
    return this.#waitsFor === "person";
  }

  /** Whether the server has accepted no key yet, although it requires one. */
  get isOpen() {
    return this.#waitsFor !== null;
  }

  /** Ask for a key; the sentence says why. */
  ask(sentence) {
    const wasWrong = this.#waitsFor === "server";
    this.#waitsFor = "person";
    this.#form.hidden = false;
    byId("key-error").textContent = sentence;
    // What is typed next is a key again, and must not stand in a prompt.
    if (wasWrong) this.focus();
  }

  /** Go away: the server accepts the key. Returns whether the focus was here. */
  accept() {
    if (!this.isOpen) return false;
    const hadFocus = this.#form.contains(document.activeElement) || document.activeElement === document.body;
    this.#waitsFor = null;
    this.#input.value = byId("key-error").textContent = "";
    this.#form.hidden = true;
    return hadFocus;
  }

  focus() {
    this.#input.focus();
    this.#input.select();
  }
}

// The numbers that the model and the LoRAs set until somebody changes them: steps and guidance.

import { numberOf } from "./fields.js";

const NAMES = ["num_inference_steps", "true_cfg_scale"];

export class FollowingFields {
  #fields;
  #recommended;
  #defaults = {};
  #changed = new Set();

  /** `recommended(name)` returns the chosen LoRAs' number; `followed()` is called when somebody has set another. */
  constructor(fields, { recommended, followed }) {
    this.#fields = fields;
    this.#recommended = recommended;
    for (const name of NAMES) {
      fields[name].addEventListener("input", () => this.#mark(name, fields[name].value !== ""));
      fields[name].addEventListener("change", () => {
        this.follow();
        followed();
      });
    }
  }

  /** The names of those that somebody has changed. */
  get changed() {
    return [...this.#changed];
  }

  /** What they show, whoever has set it: a link reproduces the image even when the defaults are others. */
  get shown() {
    return Object.fromEntries(NAMES.map((name) => [name, this.#fields[name].value]));
  }

  /** Set the model's own numbers, undefined where they are not known. */
  setModel({ steps, guidance_scale: guidance }) {
    this.#defaults = { num_inference_steps: steps, true_cfg_scale: guidance };
  }

  /** Show what the model and the LoRAs set, where nobody has changed it. */
  follow() {
    for (const name of NAMES.filter((each) => !this.#changed.has(each))) {
      this.#fields[name].value = this.#recommended(name) ?? this.#defaults[name] ?? "";
    }
  }

  /** Return the fields of a request; throws Refusal. */
  read() {
    const given = this.changed.map((name) => [name, numberOf(this.#fields[name])]);
    return Object.fromEntries(given.filter(([, value]) => value !== null));
  }

  /** Write a request's numbers; those that it has not follow. */
  fill(fields) {
    for (const name of NAMES) {
      this.#fields[name].value = fields[name] ?? "";
      this.#mark(name, name in fields);
    }
  }

  /** Write what `values` has for those that were `changed`, beside what is changed by now. */
  restore(values, changed) {
    for (const name of NAMES.filter((each) => changed.includes(each))) {
      this.#fields[name].value = values[name] ?? this.#fields[name].value;
      this.#mark(name, true);
    }
  }

  #mark(name, is) {
    if (is) this.#changed.add(name);
    else this.#changed.delete(name);
  }
}

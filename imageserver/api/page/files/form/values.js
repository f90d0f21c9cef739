// The values of the form's controls by their names, as they are, right or wrong.

import { choose } from "./fields.js";

const NAMES = [
  "prompt", "negative_prompt", "aspect_ratio", "width", "height", "quality", "output_format", "output_compression",
  "scheduler", "strength", "upscale", "layers", "n", "seed", "random", "previews", "enhance", "positive_magic",
  "add_overlay", "emphasis", "deterministic",
];

export class FormValues {
  #fields;
  // What a person has filled in before the server's settings arrived: that stays.
  #early = new Set();

  constructor(fields) {
    this.#fields = fields;
  }

  /** Keep what a person has filled in now from being overwritten once. */
  keep(control) {
    this.#early.add(nameOf(control));
  }

  read() {
    const controls = [...this.#fields].filter((each) => NAMES.includes(nameOf(each)));
    const valueOf = (each) => (each.type === "checkbox" ? each.checked : each.value);
    return Object.fromEntries(controls.map((each) => [nameOf(each), valueOf(each)]));
  }

  /** Write some values; return those, also of other names, that overwrite nothing that is kept. */
  write(values) {
    const free = Object.fromEntries(Object.entries(values).filter(([name]) => !this.#early.has(name)));
    this.#early.clear();
    for (const name of NAMES.filter((each) => free[each] !== undefined)) {
      const control = this.#fields[name];
      if (control.type === "checkbox") control.checked = free[name];
      else if (name === "scheduler") choose(control, free[name]);
      else control.value = free[name];
    }
    return free;
  }
}

function nameOf(control) {
  return control.name || control.id;
}

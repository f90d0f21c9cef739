// The size of an image: a named shape, an exact width and height, or what the model or the image to start from sets.

import { Shapes } from "../controls/shapes.js";
import { text } from "../language/text.js";
import { numberOf, offer } from "./fields.js";

const byId = (id) => document.getElementById(id);

export class SizeChoice {
  #ratio = byId("aspect_ratio");
  #sides = [byId("width"), byId("height")];
  #shapes = new Shapes(this.#ratio, (name) => this.#sizes[name] ?? this.#default);
  #sizes = {};
  #default = null;
  #isOfImage = false;

  /** `changed()` is called when a person chooses another one. */
  constructor(changed) {
    // An exact size would win over the shape, and is out of sight.
    this.#ratio.addEventListener("change", () => {
      for (const side of this.#sides) side.value = "";
    });
    for (const control of [this.#ratio, ...this.#sides]) control.addEventListener("change", changed);
  }

  /** Offer shapes by their names. */
  offer(names) {
    offer(this.#ratio, ["", ...names]);
    this.show();
  }

  /** Set the width and height of each name, and of an image that names none. */
  setModel(sizes, standard) {
    this.#sizes = sizes;
    this.#default = standard;
    this.show();
  }

  /** Say that without a choice it is the image's, or the model's. */
  follow(isOfImage) {
    this.#isOfImage = isOfImage;
    this.show();
  }

  /** Whether a person has chosen one. */
  get isChosen() {
    return this.#ratio.value !== "" || this.#isExact;
  }

  get #isExact() {
    return this.#sides.some((side) => side.value !== "");
  }

  /** Show an exact size, which is out of sight otherwise. */
  reveal() {
    if (this.#isExact) byId("more").open = true;
  }

  /** Return the fields of a request, and its width and height, null for those of the image; throws Refusal. */
  read() {
    const [width, height] = this.#sides.map(numberOf);
    if (width === null && height === null) {
      const name = this.#ratio.value;
      return name === "" ? { fields: {}, size: null } : { fields: { aspect_ratio: name }, size: this.#sizes[name] ?? null };
    }
    const fields = { ...(width === null ? {} : { width }), ...(height === null ? {} : { height }) };
    return { fields, size: width && height ? [width, height] : null };
  }

  /** Show the choice as it is now. */
  show() {
    for (const option of this.#ratio.options) {
      const size = (option.value === "" && this.#isOfImage ? null : this.#sizes[option.value] ?? this.#default)?.join("×");
      const unset = text(this.#isOfImage ? "form.aspect.same" : "form.aspect.default");
      option.text = [nameOf(option.value) || unset, size].filter(Boolean).join(" · ");
    }
    this.#shapes.show(this.#isExact);
  }
}

/** Return how a person reads the name of a shape: that of a small one begins with an s. */
function nameOf(value) {
  return value.startsWith("s") ? text("form.aspect.small", { ratio: value.slice(1) }) : value;
}

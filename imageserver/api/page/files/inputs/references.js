// Further images that the model sees beside the first one, each by itself.

import { text } from "../language/text.js";
import { scaledDown } from "./scaling.js";

// A list longer than this helps nobody, whatever the model sees.
const MAX_REFERENCES = 10;

const byId = (id) => document.getElementById(id);

export class References {
  #field = byId("references-field");
  #list = byId("references");
  #input = byId("reference");
  #limits = null;
  #files = [];
  #changed;
  #refused;

  /** `changed()` is called when there are others, `refused(refusal)` when an image cannot be sent. */
  constructor({ changed, refused }) {
    this.#changed = changed;
    this.#refused = refused;
    this.#input.addEventListener("change", () => this.#add([...this.#input.files]));
  }

  /** The files, scaled down to what the model generates. */
  get files() {
    return this.#files;
  }

  /** Follow the model's limits, `input_limits` of `GET /info`. */
  setLimits(limits) {
    this.#limits = limits;
    this.set(this.#files);
  }

  /** Show the list beside a first image, or not. */
  show(isChosen) {
    this.#field.hidden = !isChosen || this.#max === 0;
    if (!isChosen) this.set([]);
  }

  /** Set all of them. */
  set(files) {
    this.#files = files.slice(0, this.#max);
    for (const image of this.#list.querySelectorAll("img")) URL.revokeObjectURL(image.src);
    this.#list.replaceChildren(...this.#files.map((file, index) => this.#row(file, index)));
    this.#input.disabled = this.#files.length >= this.#max;
    this.#changed();
  }

  get #max() {
    return Math.min(MAX_REFERENCES, (this.#limits?.images ?? 1) - 1);
  }

  async #add(files) {
    this.#input.value = "";
    try {
      const scaled = await Promise.all(files.map((each) => scaledDown(each, this.#limits)));
      this.set([...this.#files, ...scaled.map(({ file }) => file)]);
    } catch (refusal) {
      this.#refused(refusal);
    }
  }

  #row(file, index) {
    const element = byId("reference-row").content.firstElementChild.cloneNode(true);
    const name = text("inputs.reference", { number: index + 2 });
    Object.assign(element.querySelector("img"), { src: URL.createObjectURL(file), alt: name });
    const button = element.querySelector("button");
    button.setAttribute("aria-label", text("inputs.reference.remove", { name }));
    button.addEventListener("click", () => {
      this.set(this.#files.filter((each) => each !== file));
      this.#input.focus();
    });
    return element;
  }
}

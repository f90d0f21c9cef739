// The image that guides a generation through the server's ControlNet, where it has one.

import { scaledDown } from "./scaling.js";

const byId = (id) => document.getElementById(id);

export class GuideImage {
  #fieldset = byId("guide");
  #shown = byId("guide-shown");
  #input = byId("control_image");
  #preprocessor = byId("control_preprocessor");
  #scale = byId("controlnet_conditioning_scale");
  #limits = null;
  #file = null;
  #changed;
  #refused;

  /** `changed()` is called when there is another image, `refused(refusal)` when one cannot be sent. */
  constructor({ changed, refused }) {
    this.#changed = changed;
    this.#refused = refused;
    this.#input.addEventListener("change", () => this.#choose(this.#input.files[0] ?? null));
    byId("guide-remove").addEventListener("click", () => {
      this.#set(null);
      this.#input.focus();
    });
  }

  /** Follow the model, as `GET /info` describes it. */
  setModel({ draws_from: kinds, input_limits: limits }) {
    this.#limits = limits;
    this.#fieldset.hidden = !kinds.includes("control");
    if (this.#fieldset.hidden) this.#set(null);
  }

  /** Return `{image, preprocessor, scale}`, null without an image. */
  read() {
    if (this.#file === null) return null;
    return { image: this.#file, preprocessor: this.#preprocessor.value, scale: this.#scale.valueAsNumber };
  }

  /** Be guided as an earlier request was. */
  restore(guide) {
    this.#set(guide?.image ?? null);
    if (guide) Object.assign(this.#preprocessor, { value: guide.preprocessor });
    this.#scale.value = guide?.scale ?? 1;
  }

  async #choose(file) {
    try {
      this.#set(file && (await scaledDown(file, this.#limits)).file);
    } catch (refusal) {
      this.#refused(refusal);
    }
  }

  #set(file) {
    this.#file = file;
    this.#input.value = "";
    URL.revokeObjectURL(this.#shown.src);
    for (const each of [this.#shown, byId("guide-remove"), byId("guide-options")]) each.hidden = file === null;
    if (file === null) this.#shown.removeAttribute("src");
    else this.#shown.src = URL.createObjectURL(file);
    this.#changed();
  }
}

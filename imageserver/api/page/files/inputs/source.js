// The image to start from, as the form shows it: chosen, scaled down, and said how it is sent.

import { text } from "../language/text.js";
import { scaledDown } from "./scaling.js";

const byId = (id) => document.getElementById(id);

/** What a request starts from: the image file, and how it `fit`s into a `size` of another shape (null: its own). */
export class SourceImage {
  #fieldset = byId("source");
  #shown = byId("source-shown");
  #fit = byId("source-fit");
  #limits = null;
  #chosen = null;
  #sent = null;
  #scaling = Promise.resolve();
  #changed;
  #refused;

  /** `changed()` is called when another image is chosen, `refused(refusal)` when one cannot be sent. */
  constructor({ changed, refused }) {
    this.#changed = changed;
    this.#refused = refused;
    byId("source-remove").addEventListener("click", () => this.choose(null));
  }

  /** Whether the model starts from images. */
  get isOffered() {
    return !this.#fieldset.hidden;
  }

  /** Whether there is an image to start from. */
  get isChosen() {
    return this.#chosen !== null;
  }

  /** Follow the model, as `GET /info` describes it. */
  setModel({ draws_from: kinds, input_limits: limits }) {
    this.#limits = limits;
    this.#fieldset.hidden = !kinds.includes("image") && !kinds.includes("edit");
    this.choose(this.#fieldset.hidden ? null : this.#chosen);
  }

  /** Start from an image, a Blob, or from none. */
  choose(file) {
    byId("image").value = "";
    this.#chosen = file;
    this.#show(file);
    this.#scaling = this.#scale(file);
    this.#changed();
  }

  /** Wait until the image can be sent. */
  async ready() {
    await this.#scaling;
  }

  /** Return what a request starts from, for an image of this size, null for its own size; null without an image. */
  read(size) {
    if (this.#sent === null) return null;
    return { image: this.#sent, size, fit: this.#fit.value };
  }

  /** Start from what an earlier request started from. */
  restore(source) {
    this.choose(source?.image ?? null);
    this.#fit.value = source?.fit ?? "crop";
  }

  /** Let another shape than the image's be asked for, or not. */
  showFit(isOther) {
    byId("source-fit-field").hidden = !isOther || !this.isChosen;
  }

  async #scale(file) {
    this.#sent = file;
    byId("source-note").textContent = "";
    if (file === null || this.#limits === null) return;
    try {
      const { file: sent, width, height, was } = await scaledDown(file, this.#limits);
      if (this.#chosen !== file) return;
      this.#sent = sent;
      byId("source-note").textContent = noteOf(width, height, was);
    } catch (refusal) {
      if (this.#chosen !== file) return;
      this.choose(null);
      this.#refused(refusal);
    }
  }

  #show(file) {
    URL.revokeObjectURL(this.#shown.src);
    this.#shown.hidden = byId("source-remove").hidden = file === null;
    if (file === null) this.#shown.removeAttribute("src");
    else this.#shown.src = URL.createObjectURL(file);
  }
}

function noteOf(width, height, was) {
  if (was === null) return "";
  const sent = `${width}×${height}`;
  return was[0] === width && was[1] === height ? sent : text("inputs.scaled", { was: was.join("×"), sent });
}

// The image to start from, as the form shows it: chosen, scaled down, and said how it is sent.

import { text } from "../language/text.js";
import { MaskEditor } from "../mask/editor.js";
import { GuideImage } from "./guide.js";
import { References } from "./references.js";
import { scaledDown } from "./scaling.js";

const WIDE = "(min-width: 62rem)";
const NONE = { file: null, edited: null };

const byId = (id) => document.getElementById(id);

export class SourceImage {
  #fieldset = byId("source");
  #shown = byId("source-shown");
  #maskShown = byId("source-mask-shown");
  #fit = byId("source-fit");
  #limits = null;
  #canInpaint = false;
  #chosen = null;
  #sent = null;
  // What the mask editor has made of it: `{image, mask}`.
  #edited = null;
  // The last one that could be sent: it stays where the next one cannot.
  #last = NONE;
  #isSendable = true;
  #editor = new MaskEditor((making) => this.#wait(making));
  #references = new References({ changed: () => this.#changed(), refused: (refusal) => this.#refused(refusal) });
  #guide = new GuideImage({ changed: () => this.#changed(), refused: (refusal) => this.#refused(refusal) });
  #scaling = Promise.resolve();
  #changed;
  #refused;

  /** `changed()` is called when there are other images, `refused(refusal)` when one cannot be sent. */
  constructor({ changed, refused }) {
    this.#changed = changed;
    this.#refused = refused;
    byId("source-remove").addEventListener("click", () => this.choose(null));
    byId("mask-edit").addEventListener("click", () => this.#edit());
    byId("mask-remove").addEventListener("click", () => this.#use(null));
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
  setModel(info) {
    const { draws_from: kinds, input_limits: limits } = info;
    this.#guide.setModel(info);
    this.#limits = limits;
    this.#references.setLimits(limits);
    this.#fieldset.hidden = !kinds.includes("image") && !kinds.includes("edit");
    const edited = kinds.includes("inpaint") ? this.#edited : null;
    this.#canInpaint = kinds.includes("inpaint");
    this.choose(this.#fieldset.hidden ? null : this.#chosen);
    if (edited !== null) this.#use(edited);
  }

  /** Start from an image, a Blob, or from none. */
  choose(file) {
    byId("image").value = "";
    if (this.#isSendable) this.#last = { file: this.#chosen, edited: this.#edited };
    this.#isSendable = file === null;
    this.#chosen = file;
    this.#use(null);
    this.#scaling = this.#scale(file);
  }

  /** Scroll to it, and focus what is written next: the prompt, where that stays in sight above. */
  reveal() {
    this.#fieldset.scrollIntoView({ block: "nearest" });
    byId(matchMedia(WIDE).matches ? "prompt" : "image").focus({ preventScroll: true });
  }

  /** Wait until the image can be sent. */
  async ready() {
    await this.#scaling;
  }

  /**
   * Return what a request starts from, null without images: `image` and its `mask` or null, the `guide` or null, `more`
   * images beside it, and how the first one `fit`s into a `size` of another shape, null for its own.
   */
  read(size) {
    const guide = this.#guide.read();
    if (this.#sent === null && guide === null) return null;
    const { image, mask } = this.#edited ?? { image: this.#sent, mask: null };
    return { image, mask, more: this.#references.files, guide, size, fit: this.#fit.value };
  }

  /** Start from what an earlier request started from. */
  restore(source) {
    this.choose(source?.image ?? null);
    this.#references.set(source?.more ?? []);
    this.#guide.restore(source?.guide ?? null);
    if (source?.mask) this.#use({ image: source.image, mask: source.mask });
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
      this.#isSendable = true;
      byId("source-note").textContent = noteOf(width, height, was);
    } catch (refusal) {
      if (this.#chosen !== file) return;
      this.#goBack();
      this.#refused(refusal);
    }
  }

  #goBack() {
    const { file, edited } = this.#last;
    this.#last = NONE;
    this.choose(file);
    if (edited !== null) this.#use(edited);
  }

  /** Send what the mask editor makes as soon as it has. */
  #wait(making) {
    const file = this.#chosen;
    this.#scaling = making.then((edited) => { if (this.#chosen === file) this.#use(edited); });
    this.reveal();
  }

  async #edit() {
    await this.#scaling;
    if (this.#sent !== null) await this.#editor.open(this.#sent);
  }

  /** Send what the mask editor has made, or null for the image as it is. */
  #use(edited) {
    this.#edited = edited;
    for (const each of [this.#shown, this.#maskShown]) URL.revokeObjectURL(each.src);
    const isChosen = this.#chosen !== null;
    byId("source-frame").hidden = byId("source-remove").hidden = !isChosen;
    byId("mask-edit").hidden = !isChosen || !this.#canInpaint;
    this.#references.show(isChosen);
    this.#maskShown.hidden = byId("mask-remove").hidden = edited === null;
    show(this.#shown, edited?.image ?? this.#chosen);
    show(this.#maskShown, edited?.mask ?? null);
    this.#changed();
  }
}

function show(element, file) {
  if (file === null) element.removeAttribute("src");
  else element.src = URL.createObjectURL(file);
}

function noteOf(width, height, was) {
  if (was === null) return "";
  const sent = `${width}×${height}`;
  return was[0] === width && was[1] === height ? sent : text("inputs.scaled", { was: was.join("×"), sent });
}

// The form: ranges and defaults come from the server, and its values become a request.

import { Sliders } from "../controls/sliders.js";
import { SourceImage } from "../inputs/source.js";
import { text } from "../language/text.js";
import { LayerCount } from "../layers/count.js";
import { languageOf } from "../prompts/language.js";
import { StyleChips } from "../prompts/styles.js";
import { Refusal } from "../shell/server.js";
import { choose, limit, numberOf, offer, plain, schemaOf } from "./fields.js";
import { FollowingFields } from "./following.js";
import { LoraList } from "./loras.js";
import { OutputChoice } from "./output.js";
import { Refusals } from "./refusals.js";
import { SizeChoice } from "./size.js";
import { FormValues } from "./values.js";

const LIMITED = ["num_inference_steps", "true_cfg_scale", "n", "strength", "width", "height", "upscale"];
const CHECKED = ["positive_magic", "add_overlay"];
// Sent where they are on.
const SWITCHES = ["emphasis", "deterministic"];
// What a request sets, and nothing means the default.
const OPTIONAL = ["negative_prompt", "scheduler"];
const PREVIEWS = 8;

const byId = (id) => document.getElementById(id);

export class RequestForm {
  #form = byId("request");
  #fields = this.#form.elements;
  #loras = new LoraList({ changed: () => this.#follow(), worded: (word) => this.#addToPrompt(word) });
  #following = new FollowingFields(this.#fields, {
    recommended: (name) => this.#loras.recommended(name),
    followed: () => this.#show(),
  });
  #size = new SizeChoice(() => this.#showSource());
  #styles = new StyleChips(() => this.#changed(this.kept()));
  #layers = new LayerCount();
  #output = new OutputChoice();
  #sliders = new Sliders(this.#form);
  #refusals = new Refusals(this.#form);
  #values = new FormValues(this.#fields);
  #source = new SourceImage({
    changed: () => {
      this.#showSource();
      this.#imagesChanged();
    },
    refused: (refusal) => this.refuse(refusal),
  });
  #described = false;
  // The prompt that was filled in last, and its language.
  #filled = null;
  #hasStrength = false;
  #edits = false;
  #info = {};
  #changed;
  #imagesChanged;

  /**
   * `generated()` is called when a person asks for an image, `changed(kept)` when a value changes, and `imagesChanged()`
   * when other images are sent.
   */
  constructor({ generated, changed, imagesChanged }) {
    this.#imagesChanged = imagesChanged;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      generated();
    });
    this.#changed = changed;
    this.#form.addEventListener("input", ({ target }) => {
      if (this.#described) changed(this.kept());
      else this.#values.keep(target);
    });
    this.#form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.#form.requestSubmit();
    });
    byId("random").addEventListener("change", () => this.#show());
    byId("to-settings").addEventListener("click", () => this.#form.scrollIntoView());
  }

  /** Set ranges, choices and hints from the schemas of the fields of a request. */
  describe(request) {
    for (const name of LIMITED) limit(this.#fields[name], schemaOf(request, name));
    offer(this.#fields.quality, schemaOf(request, "quality").enum);
    this.#output.describe(request);
    this.#layers.describe(request);
    this.#size.offer(schemaOf(request, "aspect_ratio").enum);
    for (const name of ["seed", "enhance", ...CHECKED, ...SWITCHES]) this.#fields[name].title = plain(schemaOf(request, name).description);
    if (this.#described) return;
    this.#described = true;
    byId("generate").disabled = false;
    for (const name of ["seed", "n"]) this.#fields[name].value ||= schemaOf(request, name).default;
    this.#fields.positive_magic.checked = schemaOf(request, "positive_magic").default;
  }

  /**
   * Set the model's `defaults`, as /health has them, its sizes and the kinds of input it accepts, which /info returns; no
   * defaults and no sampler where they are not known.
   */
  setModel(defaults, info) {
    const { width, height } = defaults;
    this.#following.setModel(defaults);
    this.#size.setModel(info.aspect_ratio_sizes, width ? [width, height] : null);
    const own = info.sampler ? text("form.scheduler.own", { name: info.sampler }) : text("form.default");
    offer(this.#fields.scheduler, ["", ...Object.keys(info.schedulers)], { "": own });
    this.#follow();
    // An edit does all its steps, so there is no strength to choose.
    this.#hasStrength = info.draws_from.includes("image");
    this.#edits = info.draws_from.includes("edit");
    byId("upscale-field").hidden = !this.#hasStrength;
    this.#info = info;
    this.#source.setModel(info);
    this.#layers.setModel(info);
    byId("enhance-field").hidden = !info.enhance;
  }

  /** Whether the model starts from images. */
  get startsFromImages() {
    return this.#source.isOffered;
  }

  /** The names of the server's LoRAs. */
  get loras() {
    return this.#loras.names;
  }

  /** The images to start from, as a request has them, or null. */
  get images() {
    return this.#source.read(null);
  }

  /** Start from images as `images` has them, as far as the model does. */
  restoreImages({ image, mask, guide, ...rest }) {
    const { draws_from: kinds } = this.#info;
    const canStart = this.startsFromImages;
    this.#source.restore({
      image: canStart ? image : null,
      mask: canStart && kinds.includes("inpaint") ? mask : null,
      guide: kinds.includes("control") ? guide : null,
      ...rest,
    });
  }

  /** Wait until the image to start from can be sent. */
  async ready() {
    await this.#source.ready();
  }

  /** Offer the server's styles. */
  setStyles(styles) {
    this.#styles.offer(styles);
  }

  /** Offer the server's LoRAs. */
  setLoras(loras, choice) {
    this.#loras.offer(loras, schemaOf(choice, "scale"));
    this.#follow();
  }

  /**
   * Return the request: `fields` as they are sent but for the image, `source` the image to start from, and the prompt
   * and styles as they were `written`.
   */
  read() {
    const value = (name) => this.#fields[name].value;
    const number = (name) => numberOf(this.#fields[name]);
    const written = { prompt: value("prompt"), styles: this.#styles.chosen };
    const fields = { prompt: this.#styles.added(written.prompt), quality: value("quality") };
    for (const name of CHECKED) fields[name] = this.#fields[name].checked;
    for (const name of SWITCHES) if (this.#fields[name].checked) fields[name] = true;
    for (const name of OPTIONAL) if (value(name) !== "") fields[name] = value(name);
    const { fields: sides, size } = this.#size.read();
    Object.assign(fields, this.#spoken(fields.prompt), sides, this.#following.read());
    Object.assign(fields, this.#output.read(), this.#layers.read());
    if (number("n") !== null) fields.n = number("n");
    const loras = this.#loras.chosen();
    if (loras.length) fields.loras = loras;
    if (!byId("strength-field").hidden && number("strength") !== null) fields.strength = number("strength");
    if (!byId("upscale-field").hidden && number("upscale") !== null) fields.upscale = number("upscale");
    if (this.#fields.enhance.checked && !byId("enhance-field").hidden) fields.enhance = true;
    fields.previews = byId("previews").checked ? PREVIEWS : 0;
    const seed = byId("random").checked ? null : value("seed").trim();
    const source = this.#source.read(size);
    return { fields, written, seed, shown: this.#following.shown, source, hasSource: source !== null };
  }

  /** Return the language of a prompt: of one that was filled in, which a language model may have written, as it was. */
  #spoken(prompt) {
    if (prompt !== this.#filled?.prompt) return languageOf(prompt);
    return this.#filled.language ? { language: this.#filled.language } : {};
  }

  /** Return what the form holds as it is, right or wrong, for `restore`; without the image. */
  kept() {
    return {
      values: { ...this.#values.read(), ...this.#following.shown },
      touched: this.#following.changed,
      styles: this.#styles.chosen,
      loras: this.#loras.picked(),
      filled: this.#filled,
    };
  }

  /** Write what `kept` returned into the form. */
  restore({ values, touched, styles = [], loras, filled = this.#filled }) {
    this.#filled = filled;
    this.#following.restore(this.#values.write(values), touched);
    this.#styles.choose(styles);
    this.#loras.choose(loras);
    this.#follow();
  }

  /** Write a request into the form, with the seed of one of its images, or "" for a random one. */
  fill({ fields, written = { prompt: fields.prompt, styles: [] }, source, hasSource }, seed) {
    for (const name of ["aspect_ratio", "width", "height", "quality", "strength", "upscale", ...OPTIONAL]) {
      this.#fields[name].value = fields[name] ?? "";
    }
    this.#fields.prompt.value = written.prompt;
    this.#filled = { prompt: fields.prompt, language: fields.language };
    this.#styles.choose(written.styles);
    this.#output.fill(fields);
    this.#layers.fill(fields);
    choose(this.#fields.scheduler, fields.scheduler ?? "");
    for (const name of CHECKED) this.#fields[name].checked = fields[name];
    for (const name of ["enhance", ...SWITCHES]) this.#fields[name].checked = fields[name] === true;
    this.#following.fill(fields);
    this.#fields.n.value = 1;
    byId("random").checked = seed === "";
    if (seed !== "") this.#fields.seed.value = seed;
    this.#loras.choose(fields.loras ?? []);
    this.#source.restore(source);
    this.#size.reveal();
    byId("more").open ||= Boolean(fields.upscale);
    this.#follow();
    this.accept();
    this.#fields.prompt.focus();
    this.#changed(this.kept());
    if (hasSource && !source?.image && !source?.guide?.image) this.refuse(new Refusal(text("form.source.lost"), { param: "image" }));
  }

  /** Write some values into the form, and leave the others as they are. */
  use(values) {
    // The prompt of an image has the words of its styles.
    const styles = values.prompt === undefined ? this.#styles.chosen : [];
    this.restore({ values, touched: this.#following.changed, styles, loras: this.#loras.picked() });
    this.#size.reveal();
    this.accept();
    this.#fields.prompt.focus();
    this.#changed(this.kept());
  }

  /** Write another prompt. */
  setPrompt(prompt) {
    this.#fields.prompt.value = prompt;
    this.#styles.show();
    this.#fields.prompt.focus();
    this.#changed(this.kept());
  }

  #addToPrompt(word) {
    const { value } = this.#fields.prompt;
    if (!value.includes(word)) this.setPrompt([value.trim(), word].filter(Boolean).join(", "));
  }

  /** Start from an image, or from none. */
  startFrom(blob) {
    this.#source.choose(blob);
  }

  /** Show the image to start from, and focus what is to be written next: where the prompt is beside it, that one. */
  revealSource() {
    this.#source.reveal();
  }

  /** Show a refusal at the field that it names. */
  refuse(refusal) {
    this.#refusals.show(refusal);
  }

  /** Return whether a refusal is about something in this form. */
  has(param) {
    return this.#refusals.has(param);
  }

  /** Clear the last refusal. */
  accept() {
    this.#refusals.clear();
  }

  /** Say a sentence about what the form holds. */
  say(sentence) {
    byId("form-note").textContent = sentence;
  }

  #follow() {
    this.#following.follow();
    this.#show();
  }

  /** Show what follows from the values. */
  #show() {
    this.#fields.seed.disabled = byId("random").checked;
    this.#sliders.show();
    this.#output.show();
    this.#styles.show();
    this.#size.show();
  }

  #showSource() {
    const { isChosen } = this.#source;
    byId("strength-field").hidden = !isChosen || !this.#hasStrength;
    const hint = this.#edits ? "form.prompt.instruct" : "form.prompt.describe";
    byId("prompt-hint").textContent = isChosen ? text(hint, { model: this.#info.model_name }) : "";
    this.#source.showFit(this.#size.isChosen);
    this.#size.follow(isChosen);
  }
}

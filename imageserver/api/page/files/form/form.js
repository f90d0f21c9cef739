// The form: ranges and defaults come from the server, and its values become a request.

import { Sliders } from "../controls/sliders.js";
import { imageFields } from "../inputs/sent_images.js";
import { SourceImage } from "../inputs/source.js";
import { text } from "../language/text.js";
import { languageOf } from "../prompts/language.js";
import { Refusal } from "../shell/server.js";
import { choose, limit, numberOf, offer, plain, schemaOf } from "./fields.js";
import { LoraList } from "./loras.js";
import { Refusals } from "./refusals.js";
import { SizeChoice } from "./size.js";

const LIMITED = ["num_inference_steps", "true_cfg_scale", "n", "strength", "width", "height"];
// Until somebody changes these, the model and the LoRAs set them.
const FOLLOWING = ["num_inference_steps", "true_cfg_scale"];
const CHECKED = ["positive_magic", "add_overlay"];
const KEPT = [
  "prompt", "negative_prompt", "aspect_ratio", "width", "height", "quality", "output_format", "scheduler", "strength",
  "n", "seed", "random", "previews",
  ...FOLLOWING, ...CHECKED,
];
// What a request sets, and nothing means the default.
const OPTIONAL = ["negative_prompt", "scheduler"];
const FORMAT = "png";
const PREVIEWS = 8;
// As many digits as 64 bits may have, and some more for the server to refuse.
const WHOLE = /^-?\d{1,24}$/;

const byId = (id) => document.getElementById(id);

export class RequestForm {
  #form = byId("request");
  #fields = this.#form.elements;
  #loras = new LoraList({ changed: () => this.#follow(), worded: (word) => this.#addToPrompt(word) });
  #defaults = {};
  #size = new SizeChoice(() => this.#showSource());
  #sliders = new Sliders(this.#form);
  #refusals = new Refusals(this.#form);
  #touched = new Set();
  // What a person has filled in before the server's settings arrived: that stays.
  #early = new Set();
  #source = new SourceImage({ changed: () => this.#showSource(), refused: (refusal) => this.refuse(refusal) });
  #described = false;
  #hasStrength = false;

  #keptLoras = null;
  #changed;

  /** `generated()` is called when a person asks for an image, `changed(kept)` when a value changes. */
  constructor({ generated, changed }) {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      generated();
    });
    this.#changed = changed;
    this.#form.addEventListener("input", ({ target }) => {
      if (this.#described) changed(this.kept());
      else this.#early.add(target.name || target.id);
    });
    this.#form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.#form.requestSubmit();
    });
    for (const name of FOLLOWING) {
      this.#fields[name].addEventListener("input", (event) => this.#touch(name, event.target.value !== ""));
      this.#fields[name].addEventListener("change", () => this.#follow());
    }
    byId("random").addEventListener("change", () => this.#show());
  }

  /** Set ranges, choices and hints from the schemas of the fields of a request. */
  describe(request) {
    for (const name of LIMITED) limit(this.#fields[name], schemaOf(request, name));
    offer(this.#fields.quality, schemaOf(request, "quality").enum);
    byId("quality-hint").textContent = plain(schemaOf(request, "quality").description);
    byId("strength-hint").textContent = plain(schemaOf(request, "strength").description);
    offer(this.#fields.output_format, schemaOf(request, "output_format").enum);
    this.#size.offer(schemaOf(request, "aspect_ratio").enum);
    for (const name of ["seed", ...CHECKED]) this.#fields[name].title = plain(schemaOf(request, name).description);
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
  setModel({ steps, guidance_scale: guidance, width, height }, info) {
    this.#defaults = { num_inference_steps: steps, true_cfg_scale: guidance };
    this.#size.setModel(info.aspect_ratio_sizes, width ? [width, height] : null);
    const own = info.sampler ? text("form.scheduler.own", { name: info.sampler }) : text("form.default");
    offer(this.#fields.scheduler, ["", ...Object.keys(info.schedulers)], { "": own });
    this.#follow();
    // An edit does all its steps, so there is no strength to choose.
    this.#hasStrength = info.draws_from.includes("image");
    this.#source.setModel(info);
  }

  /** Whether the model starts from images. */
  get startsFromImages() {
    return this.#source.isOffered;
  }

  /** The names of the server's LoRAs. */
  get loras() {
    return this.#loras.names;
  }

  /** Wait until the image to start from can be sent. */
  async ready() {
    await this.#source.ready();
  }

  /** Offer the server's LoRAs. */
  setLoras(loras, choice) {
    this.#loras.offer(loras, schemaOf(choice, "scale"));
    if (this.#keptLoras !== null) this.#loras.choose(this.#keptLoras);
    this.#keptLoras = null;
    this.#follow();
  }

  /** Return the request: `fields` as they are sent but for the image, `source` the image to start from. */
  read() {
    const value = (name) => this.#fields[name].value;
    const number = (name) => numberOf(this.#fields[name]);
    const fields = { prompt: value("prompt"), quality: value("quality") };
    for (const name of CHECKED) fields[name] = this.#fields[name].checked;
    for (const name of OPTIONAL) if (value(name) !== "") fields[name] = value(name);
    if (value("output_format") !== FORMAT) fields.output_format = value("output_format");
    const { fields: sides, size } = this.#size.read();
    Object.assign(fields, languageOf(fields.prompt), sides);
    for (const name of FOLLOWING) {
      const given = number(name);
      if (this.#touched.has(name) && given !== null) fields[name] = given;
    }
    if (number("n") !== null) fields.n = number("n");
    const loras = this.#loras.chosen();
    if (loras.length) fields.loras = loras;
    if (!byId("strength-field").hidden && number("strength") !== null) fields.strength = number("strength");
    fields.previews = byId("previews").checked ? PREVIEWS : 0;
    const seed = byId("random").checked ? null : value("seed").trim();
    // What the model would set: a link reproduces the image even when its defaults are others.
    const shown = Object.fromEntries(FOLLOWING.map((name) => [name, value(name)]));
    const source = this.#source.read(size);
    return { fields, seed, shown, source, hasSource: source !== null };
  }

  /** Return what the form holds as it is, right or wrong, for `restore`; without the image. */
  kept() {
    const controls = [...this.#fields].filter((each) => KEPT.includes(each.name || each.id));
    const values = controls.map((each) => [each.name || each.id, each.type === "checkbox" ? each.checked : each.value]);
    const loras = this.#keptLoras ?? this.#loras.picked();
    return { values: Object.fromEntries(values), touched: [...this.#touched], loras };
  }

  /** Write what `kept` returned into the form. */
  restore({ values, touched, loras }) {
    for (const name of KEPT.filter((each) => values[each] !== undefined && !this.#early.has(each))) {
      const control = this.#fields[name];
      if (FOLLOWING.includes(name) && !touched.includes(name)) continue;
      if (control.type === "checkbox") control.checked = values[name];
      else if (name === "scheduler") choose(control, values[name]);
      else control.value = values[name];
    }
    this.#touched = new Set([...touched, ...this.#touched]);
    this.#early.clear();
    this.#keepLoras(loras);
    this.#follow();
  }

  /** Write a request into the form, with the seed of one of its images, or "" for a random one. */
  fill({ fields, source, hasSource }, seed) {
    for (const name of ["prompt", "aspect_ratio", "width", "height", "quality", "strength", ...OPTIONAL]) {
      this.#fields[name].value = fields[name] ?? "";
    }
    this.#fields.output_format.value = fields.output_format ?? FORMAT;
    choose(this.#fields.scheduler, fields.scheduler ?? "");
    for (const name of CHECKED) this.#fields[name].checked = fields[name];
    for (const name of FOLLOWING) {
      this.#fields[name].value = fields[name] ?? "";
      this.#touch(name, name in fields);
    }
    this.#fields.n.value = 1;
    byId("random").checked = seed === "";
    if (seed !== "") this.#fields.seed.value = seed;
    this.#keepLoras(fields.loras ?? []);
    this.#source.restore(source);
    this.#follow();
    this.accept();
    this.#fields.prompt.focus();
    this.#changed(this.kept());
    if (hasSource && source === null) this.refuse(new Refusal(text("form.source.lost"), { param: "image" }));
  }

  /** Write some values into the form, and leave the others as they are. */
  use(given) {
    // An exact size would win over a named one.
    const values = given.aspect_ratio ? { width: "", height: "", ...given } : given;
    this.restore({ values, touched: [...this.#touched], loras: this.#keptLoras ?? this.#loras.picked() });
    this.accept();
    this.#fields.prompt.focus();
    this.#changed(this.kept());
  }

  /** Write another prompt. */
  setPrompt(prompt) {
    this.#fields.prompt.value = prompt;
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

  /** Choose LoRAs now, or once the server has named them. */
  #keepLoras(loras) {
    if (this.#loras.isOffered) this.#loras.choose(loras);
    else this.#keptLoras = loras;
  }

  #touch(name, is) {
    if (is) this.#touched.add(name);
    else this.#touched.delete(name);
  }

  #follow() {
    for (const name of FOLLOWING) {
      if (this.#touched.has(name)) continue;
      this.#fields[name].value = this.#loras.recommended(name) ?? this.#defaults[name] ?? "";
    }
    this.#show();
  }

  /** Show what follows from the values. */
  #show() {
    this.#fields.seed.disabled = byId("random").checked;
    this.#sliders.show();
    this.#size.show();
  }

  #showSource() {
    byId("strength-field").hidden = !this.#source.isChosen || !this.#hasStrength;
    this.#source.showFit(this.#size.isChosen);
    this.#size.follow(this.#source.isChosen);
  }
}

/** Return a request as JSON; a seed may have more digits than a JavaScript number can hold. */
export async function asText({ fields, seed, source }) {
  const content = { ...fields, ...(await imageFields(source)) };
  const written = seed === null ? "null" : WHOLE.test(seed) ? BigInt(seed).toString() : JSON.stringify(seed);
  return `{"seed": ${written}, ${JSON.stringify(content).slice(1)}`;
}

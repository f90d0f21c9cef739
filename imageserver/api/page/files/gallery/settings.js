// The settings of a saved image: as a request of the form, and as a list for people.

import { linkTo } from "../form/links.js";
import { lostOf } from "../inputs/lost.js";
import { text } from "../language/text.js";
import { languageOf } from "../prompts/language.js";

const FORM = [
  "model", "prompt", "language", "quality", "strength", "positive_magic", "add_overlay", "num_inference_steps",
  "true_cfg_scale", "scheduler", "upscale", "output_format", "output_compression", "layers", "emphasis", "deterministic",
];
// What the form shows in a way of its own.
const FORM_TOO = ["negative_prompt", "loras", "width", "height", "seed", "controlnet_conditioning_scale"];
const SHOWN_ELSEWHERE = ["model", "prompt"];

/** Return the request that fills the form with an image's settings; `sizes` are those that its names stand for. */
export function requestOf(item, sizes) {
  const { settings, inputs } = item;
  const given = FORM.filter((name) => name in settings).map((name) => [name, settings[name]]);
  const fields = { ...languageOf(settings.prompt), ...Object.fromEntries(given) };
  if (settings.negative_prompt.trim()) fields.negative_prompt = settings.negative_prompt;
  if (settings.loras) fields.loras = settings.loras;
  Object.assign(fields, sizeOf(settings, sizes));
  return { fields, source: guidedBy(settings.controlnet_conditioning_scale), hasSource: inputs.includes("image") };
}

/** Return the settings of an image for which the form has no field, as `name: value`, and the images that are lost. */
export function unusedOf({ settings, inputs }) {
  const names = Object.keys(settings).filter((name) => ![...FORM, ...FORM_TOO].includes(name));
  return [...names.map((name) => `${name}: ${shown(settings[name])}`), ...lostOf(inputs)];
}

/** Return the fragment with an image's settings, null where it does not hold all of them. */
export function linkOf(item, sizes) {
  const { fields } = requestOf(item, sizes);
  const hasSource = item.inputs.length > 0;
  return unusedOf(item).length ? null : linkTo({ fields, hasSource }, item.settings.seed, item.settings.model);
}

/** Return the values of the form for an image's size: its name where it has one, else the exact size. */
export function sizeOf({ width, height }, sizes) {
  const name = Object.keys(sizes).find((each) => sizes[each][0] === width && sizes[each][1] === height);
  return name ? { aspect_ratio: name, width: "", height: "" } : { aspect_ratio: "", width, height };
}

/** Return the names and values of all settings, as a person reads them, and their names in a request. */
export function rowsOf(item) {
  const rows = [
    [text("gallery.row.created"), new Date(1000 * item.created).toLocaleString()],
    [text("gallery.row.size"), `${item.width}×${item.height}`],
    [text("gallery.row.model"), item.model],
  ];
  for (const [name, value] of Object.entries(item.settings)) {
    if (!SHOWN_ELSEWHERE.includes(name) && shown(value).trim()) rows.push([labelOf(name), shown(value), name]);
  }
  if (item.inputs.length) rows.push([text("gallery.row.inputs"), item.inputs.join(", ")]);
  return rows;
}

/** Return what a request starts from whose guiding image, of that scale, must be chosen again; null without one. */
function guidedBy(scale) {
  return scale === undefined ? null : { guide: { image: null, preprocessor: "none", scale } };
}

/** Return what the form calls a setting, or its name in a request. */
function labelOf(name) {
  return document.getElementById(name)?.labels?.[0]?.textContent.trim() || name;
}

function shown(value) {
  return Array.isArray(value) ? value.map((each) => `${each.name} (${each.scale})`).join(", ") : String(value);
}

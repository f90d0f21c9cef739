// The settings inside an image file, as a request for the form, and what the form cannot follow.

import { asDataUrl } from "../form/fields.js";
import { ask } from "../shell/server.js";
import { textsIn } from "./file_texts.js";
import { lostOf } from "./lost.js";

const FIELDS = { Steps: "num_inference_steps", "CFG scale": "true_cfg_scale" };
// Of how it was made, not of what is to be made.
const RECORDS = ["Model hash", "Version", "batch_size", "inference_time", "Size-1", "Size-2"];
const PROMPTS = ["Prompt", "Negative prompt"];

/**
 * Return the settings in a file, null where it has none: `{request, seed, unused, written}`, with the prompt as a
 * person has written it.
 *
 * The server reads them, as it does for every client; throws Refusal. `info` is the answer of `GET /info`.
 */
export async function settingsIn(file, info) {
  const texts = await textsIn(file);
  if (texts === null) return null;
  const { parameters, items } = await ask("sdapi/v1/png-info", { image: await asDataUrl(texts) });
  // The comment of a photo is not a setting.
  if (Object.keys(parameters).every((name) => PROMPTS.includes(name))) return null;
  return asRequest(parameters, ownSettings(items.generation), info);
}

function asRequest(parameters, { own, inputs, written }, info) {
  const rest = { ...parameters };
  const pick = (name) => {
    const value = rest[name];
    delete rest[name];
    return value;
  };
  // Quality words, where there were any, are part of the prompt.
  const fields = { prompt: pick("Prompt"), negative_prompt: pick("Negative prompt"), ...own, quality: "exact" };
  for (const [name, field] of Object.entries(FIELDS)) {
    const value = pick(name);
    if (value !== undefined) fields[field] = value;
  }
  const seed = pick("Seed") ?? "";
  const size = [Number(rest["Size-1"]), Number(rest["Size-2"])];
  const sizes = Object.entries(info.aspect_ratio_sizes);
  const ratio = sizes.find(([, each]) => each[0] === size[0] && each[1] === size[1])?.[0];
  const fits = size[0] * size[1] <= info.input_limits.generated_pixels;
  if (ratio) fields.aspect_ratio = ratio;
  else if (fits) [fields.width, fields.height] = size;
  if (rest.Sampler === info.sampler) pick("Sampler");
  else if (rest.Sampler in info.schedulers) fields.scheduler = pick("Sampler");
  if (rest.Model === info.model_name) pick("Model");
  fields.loras = lorasOf(pick("Loras"));
  for (const name of RECORDS) delete rest[name];
  const unused = Object.entries(rest).map(([name, value]) => `${name}: ${value}`);
  if (!ratio && !fits && size[0]) unused.unshift(`Size: ${size.join("×")}`);
  const request = { fields, source: null, hasSource: inputs.includes("image") };
  return { request, seed, unused: [...unused, ...lostOf(inputs)], written: written ?? fields.prompt };
}

/**
 * Return what our own images keep beside the parameters, where a file has it: the prompts, which lose blanks at line ends
 * there, how they are read and generated, and the names of the images that were sent.
 */
function ownSettings(generation) {
  try {
    const { prompt, negative_prompt, request = {}, inputs = [] } = JSON.parse(generation);
    const { emphasis, deterministic } = request;
    return { own: { prompt, negative_prompt, emphasis, deterministic }, inputs: [...inputs], written: request.prompt };
  } catch {
    return { own: {}, inputs: [] };
  }
}

function lorasOf(written) {
  return (written ?? "").split(", ").filter(Boolean).map((each) => {
    const colon = each.lastIndexOf(":");
    const scale = Number(each.slice(colon + 1));
    return colon > 0 && Number.isFinite(scale) ? { name: each.slice(0, colon), scale } : { name: each };
  });
}

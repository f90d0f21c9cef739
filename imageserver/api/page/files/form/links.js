// Settings as the fragment of an address: whoever opens it finds them in the form.

import { languageOf } from "../prompts/language.js";

const PLAIN = [
  "prompt", "negative_prompt", "aspect_ratio", "width", "height", "quality", "num_inference_steps", "true_cfg_scale",
  "scheduler", "upscale", "output_format", "output_compression",
];
const CHECKED = ["positive_magic", "add_overlay"];
// Off unless they are named.
const SWITCHES = ["emphasis", "deterministic"];

/**
 * Return the fragment that holds a request with the seed of one of its images; `model` is what generated it.
 *
 * It is null for what no address holds: images that were sent.
 */
export function linkTo({ fields, shown, hasSource }, seed, model) {
  if (hasSource) return null;
  const all = { ...shown, ...fields };
  const query = new URLSearchParams();
  for (const name of PLAIN) if (all[name] !== undefined && all[name] !== "") query.set(name, all[name]);
  for (const name of CHECKED) query.set(name, all[name] ? "1" : "0");
  for (const name of SWITCHES) if (all[name]) query.set(name, "1");
  for (const { name, scale } of all.loras ?? []) query.append("lora", `${scale ?? ""}:${name}`);
  const spoken = languageOf(all.prompt).language ?? "en";
  if ((all.language ?? "en") !== spoken) query.set("language", all.language ?? "en");
  query.set("seed", seed);
  if (model) query.set("model", model);
  return `#${query}`;
}

/** Return the request, which names its model, and the seed in a fragment, null if it holds none. */
export function linked(fragment) {
  const query = new URLSearchParams(fragment.replace(/^#/, ""));
  if (!query.has("prompt")) return null;
  const fields = Object.fromEntries(PLAIN.filter((name) => query.has(name)).map((name) => [name, query.get(name)]));
  for (const name of [...CHECKED, ...SWITCHES]) fields[name] = query.get(name) === "1";
  fields.loras = query.getAll("lora").map((given) => {
    const colon = given.indexOf(":");
    const scale = Number(given.slice(0, colon));
    return { name: given.slice(colon + 1), ...(colon > 0 && Number.isFinite(scale) ? { scale } : {}) };
  });
  const spoken = query.get("language") ?? languageOf(fields.prompt).language;
  if (spoken === "zh") fields.language = spoken;
  if (query.has("model")) fields.model = query.get("model");
  return { request: { fields, source: null }, seed: query.get("seed") ?? "" };
}

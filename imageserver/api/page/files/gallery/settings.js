// The settings of a saved image: as a request of the form, as a list for people, as curl and as Python.

import { text } from "../language/text.js";

const FORM = ["prompt", "quality", "strength", "positive_magic", "add_overlay", "num_inference_steps", "true_cfg_scale"];
const SHOWN_ELSEWHERE = ["model", "prompt"];
const KEY = "YOUR_KEY";

/** Return the request that fills the form with an image's settings; `sizes` are those that its names stand for. */
export function requestOf(item, sizes) {
  const { settings, inputs } = item;
  const fields = Object.fromEntries(FORM.filter((name) => name in settings).map((name) => [name, settings[name]]));
  if (settings.negative_prompt.trim()) fields.negative_prompt = settings.negative_prompt;
  if (settings.loras) fields.loras = settings.loras;
  const ratio = aspectRatioOf(settings, sizes);
  if (ratio) fields.aspect_ratio = ratio;
  return { fields, source: null, hasSource: inputs.includes("image") };
}

/** Return the named aspect ratio of an image's size, or undefined. */
export function aspectRatioOf({ width, height }, sizes) {
  return Object.keys(sizes).find((name) => sizes[name][0] === width && sizes[name][1] === height);
}

/** Return the names and values of all settings, as a person reads them. */
export function rowsOf(item) {
  const rows = [
    [text("gallery.row.created"), new Date(1000 * item.created).toLocaleString()],
    [text("gallery.row.size"), `${item.width}×${item.height}`],
    [text("gallery.row.model"), item.model],
  ];
  for (const [name, value] of Object.entries(item.settings)) {
    if (!SHOWN_ELSEWHERE.includes(name) && shown(value).trim()) rows.push([name, shown(value)]);
  }
  if (item.inputs.length) rows.push([text("gallery.row.inputs"), item.inputs.join(", ")]);
  return rows;
}

/** Return a command that generates the image again. */
export function asCurl(item, isLocked) {
  const key = isLocked ? ` \\\n  -H "Authorization: Bearer ${KEY}"` : "";
  const body = asJson(item.settings).replaceAll("'", "'\\''");
  return `curl ${address()} \\\n  -H "Content-Type: application/json"${key} \\\n  -d '${body}' \\\n  -o ${fileOf(item)}\n`;
}

/** Return a Python program that generates the image again. */
export function asPython(item, isLocked) {
  const key = isLocked ? `, headers={"Authorization": "Bearer ${KEY}"}` : "";
  const rows = Object.entries(item.settings).map(([name, value]) => `    ${JSON.stringify(name)}: ${literal(value, name)},\n`);
  return `import requests\n\nsettings = {\n${rows.join("")}}\nanswer = requests.post("${address()}", json=settings${key})\n`
    + `answer.raise_for_status()\nwith open("${fileOf(item)}", "wb") as file:\n    file.write(answer.content)\n`;
}

function shown(value) {
  return Array.isArray(value) ? value.map((each) => `${each.name} (${each.scale})`).join(", ") : String(value);
}

function address() {
  return new URL("generate", document.baseURI).href;
}

function fileOf(item) {
  return `image.${item.name.split(".").pop()}`;
}

/** Return JSON in which a long seed is a number again. */
function asJson(settings) {
  return JSON.stringify(settings).replace(/(?<!\\)"seed":"(\d+)"/, '"seed":$1');
}

function literal(value, name) {
  if (name === "seed") return String(value);
  if (Array.isArray(value)) return `[${value.map((each) => literal(each)).join(", ")}]`;
  if (typeof value === "object" && value !== null) {
    return `{${Object.entries(value).map(([key, each]) => `"${key}": ${literal(each)}`).join(", ")}}`;
  }
  if (typeof value === "boolean") return value ? "True" : "False";
  // Strings of JSON are those of Python.
  return value === null ? "None" : JSON.stringify(value);
}

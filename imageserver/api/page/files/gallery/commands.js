// A saved image's settings as curl and as Python; the images that were sent with it are read from files.

import { text } from "../language/text.js";

const KEY = "YOUR_KEY";
// Of several images that guide, each has its options beside it.
const SEVERAL = "controls";
const READING = [
  "def sent(name):", '    with open(name, "rb") as file:', "        return base64.b64encode(file.read()).decode()", "",
];

/** Return a command that generates the image again: with images it sends a form, which curl fills from files. */
export function asCurl({ settings, inputs, name }, isLocked) {
  const key = isLocked ? [`-H "Authorization: Bearer ${KEY}"`] : [];
  const written = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  const form = Object.entries(settings).map((each) => `--form-string ${quoted(`${each[0]}=${written(each[1])}`)}`);
  const files = inputs.map((each) => `-F '${each}=${each === SEVERAL ? "<sent_controls.json" : `@${sentFile(each)}`}'`);
  const json = ['-H "Content-Type: application/json"', `-d ${quoted(asJson(settings))}`];
  const lines = [`curl ${address()}`, ...key, ...(inputs.length ? [...form, ...files] : json), `-o ${fileOf(name)}`];
  const list = inputs.includes(SEVERAL) ? '# sent_controls.json: [{"image": "BASE64", "scale": 1}]\n' : "";
  return `${commentOn(inputs)}${list}${lines.join(" \\\n  ")}\n`;
}

/** Return a Python program that generates the image again. */
export function asPython({ settings, inputs, name }, isLocked) {
  const key = isLocked ? `, headers={"Authorization": "Bearer ${KEY}"}` : "";
  const sent = (each) => `sent("${sentFile(each)}")`;
  const guide = (number) => `{"image": ${sent(`${SEVERAL}_${number}`)}, "scale": 1}`;
  const rows = [
    ...Object.entries(settings).map(([each, value]) => [each, literal(value, each)]),
    ...inputs.map((each) => [each, each === SEVERAL ? `[${guide(1)}, ${guide(2)}]` : sent(each)]),
  ].map(([each, value]) => `    "${each}": ${value},\n`);
  const lines = [
    ...(inputs.length ? ["import base64"] : []), "import requests", "",
    ...(inputs.length ? READING : []),
    `settings = {\n${rows.join("")}}`, `answer = requests.post("${address()}", json=settings${key})`,
    "answer.raise_for_status()", `with open("${fileOf(name)}", "wb") as file:`, "    file.write(answer.content)", "",
  ];
  return commentOn(inputs) + lines.join("\n");
}

/** Return what to do about images that are not kept, as a comment in either language. */
function commentOn(inputs) {
  return inputs.length ? `# ${text("gallery.copy.inputs", { names: inputs.join(", ") })}\n` : "";
}

function sentFile(field) {
  return `sent_${field}.png`;
}

function address() {
  return new URL("generate", document.baseURI).href;
}

function fileOf(name) {
  return `image.${name.split(".").pop()}`;
}

/** Return a text as one word of a shell. */
function quoted(content) {
  return `'${content.replaceAll("'", "'\\''")}'`;
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

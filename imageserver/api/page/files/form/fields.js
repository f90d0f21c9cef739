// One field of the form: its schema, as the server describes it, and its value.

import { text } from "../language/text.js";
import { Refusal } from "../shell/server.js";

/** Return the schema of one of the fields without its "or null". */
export function schemaOf(fields, name) {
  const field = fields[name] ?? {};
  const option = (field.anyOf ?? []).find((each) => each.type !== "null");
  return { ...option, ...field };
}

/** Set a number's range, and a hint that names it. */
export function limit(control, field) {
  const minimum = field.minimum ?? field.exclusiveMinimum;
  if (minimum !== undefined) control.min = minimum;
  if (field.maximum !== undefined) control.max = field.maximum;
  const ends = [minimum, field.maximum].filter((each) => each !== undefined);
  const range = ends.length === 2 ? text("form.range.between", { minimum, maximum: field.maximum }) : ends.join();
  control.title = [plain(field.description), range && text("form.range", { range })].filter(Boolean).join(" ");
}

/** Return a sentence of the server without the backticks around code. */
export function plain(sentence = "") {
  return sentence.replaceAll("`", "");
}

/** Fill a list with choices; `labels` are shown instead of names. */
export function offer(select, names, labels = {}) {
  const chosen = select.value;
  select.replaceChildren(...names.map((name) => new Option(labels[name] ?? name, name)));
  if (names.includes(chosen)) select.value = chosen;
}

/** Choose from a list, also what the server has not named yet. */
export function choose(select, name) {
  const isOffered = [...select.options].some((option) => option.value === name);
  if (name !== "" && !isOffered) select.add(new Option(name, name));
  select.value = name;
}

/** Return the number in a field, null for an empty one; throws Refusal for anything else. */
export function numberOf(control) {
  if (control.validity.badInput) {
    const values = { field: control.labels[0].textContent.trim(), problem: control.validationMessage };
    throw new Refusal(text("form.invalid", values), { param: control.name });
  }
  return control.value === "" ? null : Number(control.value);
}

/** Return a Blob as a data URL. */
export function asDataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Refusal(text("form.source.unreadable"), { param: "image" }));
    reader.readAsDataURL(blob);
  });
}

/** Return base64 as a Blob. */
export function asBlob(base64, format) {
  const letters = atob(base64);
  const bytes = new Uint8Array(letters.length);
  for (let index = 0; index < letters.length; index += 1) bytes[index] = letters.charCodeAt(index);
  return new Blob([bytes], { type: `image/${format}` });
}

// What the server's own description says of a field, and what a person wrote into it.

import { Refusal } from "./server.js";

/** Return the description of a field without its "or null". */
export function told(schema, name) {
  const field = schema.properties[name] ?? {};
  const option = (field.anyOf ?? []).find((each) => each.type !== "null");
  return { ...option, ...field };
}

/** Give a number its range, and a hint what it may be. */
export function limit(control, field) {
  const least = field.minimum ?? field.exclusiveMinimum;
  if (least !== undefined) control.min = least;
  if (field.maximum !== undefined) control.max = field.maximum;
  const range = [least, field.maximum].filter((each) => each !== undefined).join(" to ");
  control.title = [plain(field.description), range && `Range: ${range}.`].filter(Boolean).join(" ");
}

/** Return a sentence of the server's without its marks for code. */
export function plain(text = "") {
  return text.replaceAll("`", "");
}

/** Put the choices into a list; `labels` are shown instead of names. */
export function offer(select, names, labels = {}) {
  const chosen = select.value;
  select.replaceChildren(...names.map((name) => new Option(labels[name] ?? name, name)));
  if (names.includes(chosen)) select.value = chosen;
}

/** Return the number in a field, null for none; throws Refusal for what is no number. */
export function numberOf(control) {
  if (control.validity.badInput) {
    throw new Refusal(`${control.labels[0].textContent.trim()}: ${control.validationMessage}`, { param: control.name });
  }
  return control.value === "" ? null : Number(control.value);
}

/** Return a Blob as a data URL. */
export function asDataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Refusal("The image cannot be read.", { param: "image" }));
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

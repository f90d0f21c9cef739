// The images that were sent with a request: no server keeps them.

import { text } from "../language/text.js";

/** Return what to say of them, given their names in the request, as a list: nothing where there were none. */
export function lostOf(names) {
  return names.length ? [`${text("gallery.row.inputs")}: ${names.join(", ")}`] : [];
}

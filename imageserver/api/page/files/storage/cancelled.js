// The requests that were cancelled while the server did not answer, for the page that is loaded next.

import { markOfKey } from "../shell/server.js";
import { erase, namesIn, read, write } from "./store.js";

const CANCELLED = "cancelled ";
// The server forgets a task after a day, unless its owner chooses another time.
const KEPT_SECONDS = 86_400;

export function keepCancelled(id) {
  write("localStorage", CANCELLED + id, { mark: markOfKey(), at: Date.now() });
}

export function forgetCancelled(id) {
  erase("localStorage", CANCELLED + id);
}

/** Return the ids of those that were cancelled with the key of this tab; what is too old is forgotten. */
export function keptCancelled() {
  const ids = namesIn("localStorage", CANCELLED).map((name) => name.slice(CANCELLED.length));
  return ids.filter((id) => {
    const { mark, at } = read("localStorage", CANCELLED + id) ?? {};
    if (!(Date.now() - at < 1000 * KEPT_SECONDS)) forgetCancelled(id);
    return mark === markOfKey();
  });
}

// What the browser remembers: the requests of all tabs, the form of this tab, and the last form that was sent.

import { erase, namesIn, read, watchStore, write } from "./store.js";

const TASK = "task ";
const MAX_TASKS = 100;

/** Remember a request by the id of its task; the oldest of too many are forgotten. */
export function remember(task) {
  write("localStorage", TASK + task.id, task);
  for (const { id } of remembered().slice(0, -MAX_TASKS)) forget(id);
}

export function forget(id) {
  erase("localStorage", TASK + id);
}

/** Return the remembered requests, the oldest first. */
export function remembered() {
  const tasks = namesIn("localStorage", TASK).map((name) => read("localStorage", name));
  return tasks.filter(Boolean).sort((one, other) => one.at - other.at);
}

/** Call `changed(id)` whenever another tab remembers or forgets a request. */
export function watch(changed) {
  watchStore((name) => { if (name.startsWith(TASK)) changed(name.slice(TASK.length)); });
}

/** Keep the form of this tab, and with `sent` that of the next tab too. */
export function keepForm(form, { sent = false } = {}) {
  write("sessionStorage", "form", form);
  if (sent) write("localStorage", "form", form);
}

/** Return the form of this tab, or else the last one that was sent from any. */
export function keptForm() {
  return read("sessionStorage", "form") ?? read("localStorage", "form");
}

/** Return whether this tab sees settings in its address for the first time: a reload does not bring them back. */
export function isNewLink(link) {
  const isNew = read("sessionStorage", "link") !== link;
  write("sessionStorage", "link", link);
  return isNew;
}

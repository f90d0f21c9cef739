// What the browser remembers: the requests of all tabs, the form of this tab, and the last form that was sent.

import { markOfKey } from "../shell/server.js";
import { hold, letGo } from "./holders.js";
import { dropSource, keepSource, recallSource } from "./sources.js";
import { erase, namesIn, read, watchStore, write } from "./store.js";

const TASK = "task ";
const MAX_TASKS = 100;
const IMAGES = "form images";

/**
 * Remember a request by the id of its task, and until it is sent as one of this tab, which sends it; of too many, the
 * oldest that have ended are forgotten.
 */
export function remember(task) {
  if (task.isSent) {
    letGo(task.id);
    erase("sessionStorage", TASK + task.id);
  } else {
    hold(task.id);
    write("sessionStorage", TASK + task.id, markOfKey());
  }
  // After its holder: who hears of it looks for that.
  write("localStorage", TASK + task.id, task);
  const kept = remembered();
  const leaving = [...kept.filter((each) => each.isOver), ...kept.filter((each) => !each.isOver)];
  for (const { id } of leaving.slice(0, Math.max(0, kept.length - MAX_TASKS))) forget(id);
}

export function forget(id) {
  letGo(id);
  dropSource(id);
  for (const store of ["localStorage", "sessionStorage"]) erase(store, TASK + id);
}

/** Return whether a request that was not sent was made in this tab, with the key that this tab still has. */
export function isOfThisTab(id) {
  return read("sessionStorage", TASK + id) === markOfKey();
}

/** Return the ids of the requests of this tab that were not sent, and take them for those of any tab from now on. */
export function disown() {
  const names = namesIn("sessionStorage", TASK);
  for (const name of names) erase("sessionStorage", name);
  return names.map((name) => name.slice(TASK.length));
}

/** Return a remembered request, or null. */
export function recall(id) {
  return read("localStorage", TASK + id);
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

/** Keep the images of the form of this tab, or with `sent` those of the next tab; null for none. */
export async function keepFormImages(source, { sent = false } = {}) {
  const store = sent ? "localStorage" : "sessionStorage";
  // Another name each time: a tab that is duplicated has the same one, and never shows what the other has chosen since.
  const id = source && `${ofThisKey()}${Date.now()} ${Math.random()}`;
  if (source) await keepSource(id, source);
  const last = read(store, IMAGES);
  write(store, IMAGES, id);
  if (last) dropSource(last);
}

/**
 * Return the images of the form that `keptForm` returns now: whether it had some of this key, `hadSome`, whether this tab
 * has kept them, `isOwn`, and the images, `source`, null where they were dropped meanwhile.
 */
export async function keptFormImages() {
  const isOwn = read("sessionStorage", "form") !== null;
  const id = read(isOwn ? "sessionStorage" : "localStorage", IMAGES);
  const hadSome = id !== null && id.startsWith(ofThisKey());
  return { isOwn, hadSome, source: hadSome ? await recallSource(id) : null };
}

/** Forget the images of all forms that were filled with this key. */
export function forgetFormImages() {
  return dropSource(ofThisKey());
}

function ofThisKey() {
  return `form ${markOfKey()} `;
}

/** Return whether this tab sees settings in its address for the first time: a reload does not bring them back. */
export function isNewLink(link) {
  const isNew = read("sessionStorage", "link") !== link;
  write("sessionStorage", "link", link);
  return isNew;
}

// A request of this page as a task of the server: what is remembered of it, and what the page knows about it.

import { hasKey } from "../shell/server.js";
import { isOfThisTab, remember } from "../storage/memory.js";

/** Return the task of a request that is to be sent. */
export function newTask(request) {
  return asTask({ id: newId(), at: Date.now(), isSent: false, request });
}

/** Return a remembered task, about which the server was not asked yet. */
export function asTask(kept) {
  return { ...kept, card: null, number: null, job: null, last: null, stream: null, sending: null, isOver: false, isAwaited: false };
}

/** Remember a task as it is now. */
export function keepTask({ id, at, isSent, isOver, request, revised, made }) {
  // An image would fill the browser's store of texts.
  remember({ id, at, isSent, isOver, revised, made, request: { ...request, source: null } });
}

/** Return whether this page may send a request of one that was closed: a key is one person's. */
export function maySend(task) {
  return task !== null && (!hasKey() || isOfThisTab(task.id));
}

/** Return whether the images that a request was made from were dropped by this browser. */
export function isWithoutImages({ hasSource, source }) {
  return hasSource && source === null;
}

/** Return the address of the task with this id. */
export function addressOf(id) {
  return `v1/tasks/${id}`;
}

/** Return a random UUID; over http the browser makes none itself. */
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const digits = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

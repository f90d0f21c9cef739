// Which page sends a request that the server does not have yet: no other one may, as long as that page is open.

import { erase, namesIn, read, write } from "./store.js";

const HOLDER = "holder ";
const CLOSED = 0;
const RENEWED_SECONDS = 10;
// A browser lets the timers of a tab that nobody sees run once a minute.
const OPEN_SECONDS = 90;
// The browser may open the tabs that it lost again: the one that made a request goes first.
const LOST_SECONDS = 2 * OPEN_SECONDS;

// In its memory alone: a tab that is duplicated copies what it has stored.
const page = crypto.getRandomValues(new Uint32Array(4)).join("-");
const held = new Set();

/** Let this page alone send a request. */
export function hold(id) {
  held.add(id);
  renew(id);
}

/** Let go of a request that is sent, or that nobody sends. */
export function letGo(id) {
  held.delete(id);
  erase("localStorage", HOLDER + id);
}

/** Return whether another page that is open sends a request. */
export function isHeldElsewhere(id) {
  const holder = read("localStorage", HOLDER + id);
  return holder !== null && holder.page !== page && isOpen(holder);
}

/** Return whether the page that sends a request has long been gone without having been closed. */
export function isLost(id) {
  const holder = read("localStorage", HOLDER + id);
  return holder !== null && holder.at !== CLOSED && age(holder) >= LOST_SECONDS;
}

/** Return the ids of the requests whose page was closed before it could send them. */
export function abandoned() {
  const ids = namesIn("localStorage", HOLDER).map((name) => name.slice(HOLDER.length));
  return ids.filter((id) => !held.has(id) && !isHeldElsewhere(id));
}

/** Say from now on that this page is open, and when it is closed that it is not. */
export function showThatOpen() {
  setInterval(() => held.forEach(renew), 1000 * RENEWED_SECONDS);
  addEventListener("pagehide", () => held.forEach((id) => write("localStorage", HOLDER + id, { page, at: CLOSED })));
  // The way back leads to it as it was.
  addEventListener("pageshow", () => held.forEach(renew));
}

function isOpen(holder) {
  return age(holder) < OPEN_SECONDS;
}

/** Return the seconds since a page said that it is open; a clock may have been put back. */
function age({ at }) {
  return Math.abs(Date.now() - at) / 1000;
}

function renew(id) {
  write("localStorage", HOLDER + id, { page, at: Date.now() });
}

// The saved images of the server: listed, marked, deleted, and sent as one file.

import { text } from "../language/text.js";
import { Refusal, UNREACHABLE, open, send } from "../shell/server.js";

const PAGE_SIZE = 60;
// Those with more digits than a JavaScript number can hold; within a prompt the quotes have a backslash.
const LONG_SEED = /(?<!\\)"seed":\s*(\d{16,})/g;

/** Return a page of at most `limit` images, and where they are kept; `cursor` is `next` of the page before. */
export async function listImages({ query = "", isFavourite = false, cursor = null, limit = PAGE_SIZE }) {
  const search = new URLSearchParams({ limit, q: query, favourite: isFavourite });
  if (cursor !== null) search.set("cursor", cursor);
  return readExactly(await open(`v1/gallery?${search}`));
}

/** Return one image; throws Refusal. */
export async function findImage(name) {
  return readExactly(await open(addressOf(name)));
}

export function mark(name, isFavourite) {
  return send("PATCH", addressOf(name), JSON.stringify({ favourite: isFavourite }));
}

export function remove(name) {
  return send("DELETE", addressOf(name));
}

export function restore(name) {
  return send("PATCH", addressOf(name), JSON.stringify({ deleted: false }));
}

/** Return images as a ZIP file, all of them without `names`. */
export async function zipOf(names = null) {
  const body = JSON.stringify(names === null ? {} : { names });
  const response = await open("v1/gallery/archive", {
    method: "POST", headers: { "Content-Type": "application/json" }, body,
  });
  return response.blob().catch(() => { throw cut(); });
}

/** Return the address of a thumbnail at this page's server, with its signature. */
export function thumbnailOf(item) {
  return `${addressOf(item.name)}/thumbnail${new URL(item.thumbnail_url).search}`;
}

function addressOf(name) {
  return `v1/gallery/${encodeURIComponent(name)}`;
}

async function readExactly(response) {
  const content = await response.text().catch(() => { throw cut(); });
  return JSON.parse(content.replace(LONG_SEED, '"seed":"$1"'));
}

function cut() {
  return new Refusal(text("server.silent"), { code: UNREACHABLE });
}

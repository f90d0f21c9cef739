// Requests to the server that sent this page, with the API key that it may require.

import { text } from "../language/text.js";

export const UNREACHABLE = "unreachable";
// A server that restarts, or a proxy before one.
const COMING_BACK = [502, 503, 504];

const KEY = "qwen-image-server key";
const MARK = "qwen-image-server mark of the key";
let [key, mark] = stored();

/** A refusal by the server: its sentence, the wrong field, and the seconds until a retry makes sense. */
export class Refusal extends Error {
  constructor(sentence, { status = null, code = null, param = null, retryAfter = null } = {}) {
    super(sentence);
    Object.assign(this, { status, code, param, retryAfter });
  }
}

/** Return whether a refusal says that the server does not answer now, and may later. */
export function isAway({ code, status }) {
  return code === UNREACHABLE || COMING_BACK.includes(status);
}

/** Keep a key for this tab, or for all tabs until it is forgotten; returns whether it takes the place of another one. */
export function keep(given, { forAllTabs = false } = {}) {
  const isOther = hasKey() && given !== key;
  const its = given === key ? mark : crypto.getRandomValues(new Uint32Array(4)).join("-");
  forget();
  [key, mark] = [given, its];
  try {
    const storage = forAllTabs ? localStorage : sessionStorage;
    storage.setItem(KEY, key);
    storage.setItem(MARK, mark);
  } catch {
    // A browser that stores nothing keeps the key as long as the page.
  }
  return isOther;
}

/** Return whether there is a key. */
export function hasKey() {
  return key !== "";
}

/** Return what tells the key from one that is given later, and says nothing about it: an empty string for none. */
export function markOfKey() {
  return mark;
}

/** Forget the key, in all tabs that begin after this. */
export function forget() {
  key = mark = "";
  try {
    for (const storage of [sessionStorage, localStorage]) for (const name of [KEY, MARK]) storage.removeItem(name);
  } catch {
    // Nothing was stored.
  }
}

/** Send a GET request, or a POST request with `body`, and return the JSON of the answer; throws as `open` does. */
export async function ask(path, body) {
  return body === undefined ? send("GET", path) : send("POST", path, JSON.stringify(body));
}

/** Send a request, with `content` as its JSON, and return the JSON of the answer; throws as `open` does. */
export async function send(method, path, content, signal) {
  const headers = { Accept: "application/json" };
  if (content !== undefined) headers["Content-Type"] = "application/json";
  const response = await open(path, { method, headers, body: content, signal });
  return response.json().catch(() => { throw unreachable(); });
}

/**
 * Send a request and return its successful response; throws Refusal, with the code `unreachable` where the server does
 * not answer.
 */
export async function open(path, { headers = {}, ...options } = {}) {
  const authorized = key ? { ...headers, Authorization: `Bearer ${key}` } : headers;
  const response = await fetch(path, { cache: "no-cache", headers: authorized, ...options }).catch(() => {
    throw unreachable();
  });
  if (response.ok) return response;
  const content = await response.json().catch(() => ({}));
  // The OpenAI routes wrap the fields that the others send at the top level.
  const failure = content.error?.message === undefined ? content : { ...content.error, error: content.error.message };
  const { code, param = null, error: sentence } = failure;
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  throw new Refusal(sentence ?? text("server.answered", { status: response.status }), { status: response.status, code, param, retryAfter });
}

function unreachable() {
  return new Refusal(text("server.silent"), { code: UNREACHABLE });
}

/** Return the key and its mark. */
function stored() {
  try {
    const storage = sessionStorage.getItem(KEY) === null ? localStorage : sessionStorage;
    return [KEY, MARK].map((name) => storage.getItem(name) ?? "");
  } catch {
    return ["", ""];
  }
}

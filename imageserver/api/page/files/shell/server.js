// Requests to the server that sent this page, with the API key that it may require.

import { text } from "../language/text.js";

export const UNREACHABLE = "unreachable";

const KEY = "qwen-image-server key";
let key = stored();

/** A refusal by the server: its sentence, the wrong field, and the seconds until a retry makes sense. */
export class Refusal extends Error {
  constructor(sentence, { status = null, code = null, param = null, retryAfter = null } = {}) {
    super(sentence);
    Object.assign(this, { status, code, param, retryAfter });
  }
}

/** Keep a key for this tab, or for all tabs until it is forgotten. */
export function keep(given, { forAllTabs = false } = {}) {
  forget();
  key = given;
  try {
    (forAllTabs ? localStorage : sessionStorage).setItem(KEY, given);
  } catch {
    // A browser that stores nothing keeps the key as long as the page.
  }
}

/** Return whether there is a key. */
export function hasKey() {
  return key !== "";
}

/** Forget the key, in all tabs that begin after this. */
export function forget() {
  key = "";
  try {
    for (const storage of [sessionStorage, localStorage]) storage.removeItem(KEY);
  } catch {
    // Nothing was stored.
  }
}

/** Send a GET request, or a POST request with `body`, and return the JSON of the answer; throws as `open` does. */
export async function ask(path, body) {
  return body === undefined ? send("GET", path) : send("POST", path, JSON.stringify(body));
}

/** Send a request, with `content` as its JSON, and return the JSON of the answer; throws as `open` does. */
export async function send(method, path, content) {
  const headers = { Accept: "application/json" };
  if (content !== undefined) headers["Content-Type"] = "application/json";
  const response = await open(path, { method, headers, body: content });
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

function stored() {
  try {
    return sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

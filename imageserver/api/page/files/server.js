// Requests to the server that sent this page, with the API key that it may require.

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

/** Keep a key for this tab. */
export function keep(text) {
  key = text;
  try {
    sessionStorage.setItem(KEY, text);
  } catch {
    // A browser that stores nothing keeps the key as long as the page.
  }
}

/**
 * Send a GET request, or a POST request with `body`, and return the JSON of the answer; throws Refusal, with the code
 * `unreachable` where the server does not answer.
 */
export async function ask(path, body) {
  const headers = { Accept: "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const options = { headers, cache: "no-cache" };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  }
  const response = await fetch(path, options).catch(() => {
    throw new Refusal("The server does not answer.", { code: UNREACHABLE });
  });
  const content = await response.json().catch(() => ({}));
  if (response.ok) return content;
  // The OpenAI routes wrap the fields that the others send at the top level.
  const failure = content.error?.message === undefined ? content : { ...content.error, error: content.error.message };
  throw new Refusal(failure.error ?? `The server answered ${response.status}.`, {
    status: response.status, code: failure.code, param: failure.param ?? null,
  });
}

/** Return the WebSocket's address; browsers cannot send headers with it, so it carries the key. */
export function generatingAddress() {
  const address = new URL("ws/generate", document.baseURI);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  if (key) address.searchParams.set("api_key", key);
  return address;
}

function stored() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

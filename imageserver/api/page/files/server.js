// The server that this page came from: its addresses, and the key that it may ask for.

export const UNREACHABLE = "unreachable";

const KEY = "qwen-image-server key";
let key = stored();

/** What the server refused: its sentence, the field that is wrong, and the seconds until it may be tried again. */
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
    // Where the browser stores nothing, the key lives as long as the page.
  }
}

/**
 * Return the JSON at an address, which `body` is sent to where there is one; throws Refusal, with the code `unreachable`
 * where the server does not answer.
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
  // OpenAI's addresses wrap what the others say as it is.
  const told = content.error?.message === undefined ? content : { ...content.error, error: content.error.message };
  throw new Refusal(told.error ?? `The server answered ${response.status}.`, {
    status: response.status, code: told.code, param: told.param ?? null,
  });
}

/** Return the address to generate at; a browser can give a WebSocket no header, so the key stands in it. */
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

// Server-sent events read with fetch: an EventSource cannot send the API key.

import { open } from "../shell/server.js";

/**
 * Yield the events of a stream as they arrive, those of one piece together as a list of `{name, id, data}`.
 *
 * `last` is the id after which the stream continues; throws Refusal.
 */
export async function* events(path, { last, signal }) {
  const headers = { Accept: "text/event-stream" };
  if (last) headers["Last-Event-ID"] = last;
  const response = await open(path, { headers, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const frames = (rest + value).split("\n\n");
    rest = frames.pop();
    yield frames.map(parsed).filter((event) => event.data !== undefined);
  }
}

function parsed(frame) {
  const fields = {};
  for (const line of frame.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 2);
  }
  return { name: fields.event, id: fields.id, data: fields.data && JSON.parse(fields.data) };
}

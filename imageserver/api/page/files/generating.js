// One generation over a WebSocket of its own: any number can run side by side, and each ends with its card.

import { Refusal, generatingAddress } from "./server.js";

const TOO_BIG = 1009;

/**
 * Send `text`, a request as JSON, and return a function that cancels it.
 *
 * Calls the `listener`'s `queued(frame)`, `progress(frame)`, `preview(frame)` and finally one of `result(data)`,
 * `refused(Refusal)` and `lost(sentence)`.
 */
export function generate(text, listener) {
  const socket = new WebSocket(generatingAddress());
  let over = false;
  let stopped = false;

  const end = (name, content) => {
    if (over) return;
    over = true;
    socket.close();
    listener[name](content);
  };
  const stopNow = () => end("refused", new Refusal("The generation was cancelled.", { code: "cancelled" }));

  socket.addEventListener("open", () => socket.send(text));
  socket.addEventListener("message", (event) => {
    const frame = JSON.parse(event.data);
    if (frame.type === "result") end("result", frame.data);
    else if (frame.type === "error") {
      const { message, code, param, retry_after: retryAfter } = frame;
      end("refused", new Refusal(message, { code, param, retryAfter }));
    } else if (!over && !stopped) listener[frame.type]?.(frame);
  });
  socket.addEventListener("close", (event) => {
    const reason = event.code === TOO_BIG ? "The request is larger than the server accepts." : event.reason;
    end("lost", reason || "The connection to the server ended before the image was finished.");
  });

  return () => {
    stopped = true;
    if (socket.readyState === WebSocket.OPEN) socket.send('{"type": "cancel"}');
    else stopNow();
  };
}

// Requests that were cancelled before the server had heard of it: it may have them, or get them, all the same.

import { isAway, send } from "../shell/server.js";
import { forgetCancelled, keepCancelled, keptCancelled } from "../storage/cancelled.js";
import { addressOf } from "./task.js";

// What was broken off is perhaps still read by the server, which does not know it until then.
const TRIES = 3;

export class Withdrawals {
  // By the ids of their tasks; those of this page before it was reloaded too.
  #left = new Map(keptCancelled().map((id) => [id, TRIES]));

  /** Whether the server has perhaps not heard of one. */
  get any() {
    return this.#left.size > 0;
  }

  /** Tell the server with its next questions that a task is cancelled. */
  add(id) {
    keepCancelled(id);
    this.#left.set(id, TRIES);
  }

  /** Tell it what it has perhaps not heard. */
  async repeat() {
    await Promise.all([...this.#left.keys()].map((id) => this.#tell(id)));
  }

  /** Leave them to whoever has the key with which they were asked for. */
  leave() {
    this.#left.clear();
  }

  async #tell(id) {
    try {
      await send("DELETE", addressOf(id));
    } catch (error) {
      if (isAway(error)) return;
      this.#left.set(id, this.#left.get(id) - 1);
      if (error.status === 404 && this.#left.get(id) > 0) return;
    }
    this.#left.delete(id);
    forgetCancelled(id);
  }
}

// The requests that the browser remembers: those of this page before it was reloaded, and those of other tabs.

import { abandoned, hold, isHeldElsewhere, isLost, letGo, showThatOpen } from "../storage/holders.js";
import { recall, remembered, watch } from "../storage/memory.js";
import { recallSource } from "../storage/sources.js";
import { maySend } from "./task.js";

// Others of the page wait for the same connections.
const ASKED_AT_ONCE = 4;

export class RememberedTasks {
  // The ids of those that another page was to send when this one was opened.
  #left = new Set();
  #to;

  /**
   * `to.has(id)` returns whether the page has a request, `to.found(kept)` is called with one that it does not have, and
   * `to.removed(id)` when another tab has removed one.
   */
  constructor(to) {
    this.#to = to;
    watch((id) => this.#adopt(id));
    showThatOpen();
  }

  /** Find all of them again, the newest first. */
  async restore() {
    const all = remembered().map(({ id }) => id).toReversed();
    all.filter(isHeldElsewhere).forEach((id) => this.#left.add(id));
    const ids = all.values();
    const askInTurn = async () => { for (const id of ids) await this.#adopt(id); };
    await Promise.all(Array.from({ length: ASKED_AT_ONCE }, askInTurn));
  }

  /** Take over those whose page was closed before it could send them. */
  adoptAbandoned() {
    for (const id of abandoned()) {
      // What this page may not send, it says; once, for its tab may have come back meanwhile.
      if (maySend(recall(id)) || (isLost(id) && this.#left.delete(id))) this.#adopt(id);
    }
  }

  /** Take over a request that another tab, or this page before it was reloaded, has sent, or drop one it removed. */
  async #adopt(id) {
    const kept = recall(id);
    if (!kept) this.#to.removed(id);
    // Another tab has sent what this one was to send.
    if (kept?.isSent) letGo(id);
    if (!kept || this.#to.has(id) || (!kept.isSent && isHeldElsewhere(id))) return;
    if (!kept.isSent) hold(id);
    if (kept.request.hasSource) kept.request.source = await recallSource(id);
    // It may have been found twice meanwhile.
    if (!this.#to.has(id)) await this.#to.found(kept);
  }
}

// Requests on their way to the server: sent, sent again while it does not answer, and broken off.

import { isAway, send } from "../shell/server.js";
import { asJson } from "./body.js";
import { addressOf } from "./task.js";
import { Withdrawals } from "./withdrawals.js";

export class Sending {
  #withdrawals = new Withdrawals();
  #to;

  /**
   * `to.arrived(task, status)` is called with the server's answer, `to.refused(task, error)` where it takes the request
   * never, and `to.failed(error)` with every error.
   */
  constructor(to) {
    this.#to = to;
  }

  /** Whether the server has perhaps not heard that a request was broken off. */
  get isUnfinished() {
    return this.#withdrawals.any;
  }

  /** Send a task's request, unless that is under way. */
  async send(task) {
    if (task.sending) return;
    task.sending = new AbortController();
    try {
      const status = await send("PUT", addressOf(task.id), await asJson(task.request), task.sending.signal);
      await this.#to.arrived(task, status);
    } catch (error) {
      if (!task.isOver) this.#cannot(task, error);
    } finally {
      task.sending = null;
    }
  }

  /** Send a request no more; it may have arrived all the same. */
  async cancel(task) {
    task.sending?.abort();
    this.#withdrawals.add(task.id);
    await this.#withdrawals.repeat();
  }

  /** Cancel a task when the server answers again, also where this page is loaded again before. */
  cancelLater(task) {
    this.#withdrawals.add(task.id);
  }

  /** Cancel nothing more of what was asked for with another key. */
  leaveCancelled() {
    this.#withdrawals.leave();
  }

  /** Tell the server again what it has perhaps not heard. */
  async repeat() {
    await this.#withdrawals.repeat();
  }

  #cannot(task, error) {
    this.#to.failed(error);
    if (isAway(error)) task.card?.wait(error.message);
    // Another try of the same request was faster.
    else if (error.status === 409) task.isSent = true;
    else this.#to.refused(task, error);
  }
}

// The streams of events of the requests that run or will run next, while somebody can see them.

import { Refusal } from "../shell/server.js";
import { events } from "./events.js";

// Of the six connections to a host that a browser opens for all its tabs.
const MAX_STREAMS = 2;

export class JobStreams {
  #to;

  /**
   * `to.open()` returns the tasks that are under way: those with a `number` and a `card` get a `stream`, which can be
   * aborted. `to.read(task, batch)` is called with events, and `to.settle(task, signal)` when there are no more.
   */
  constructor(to) {
    this.#to = to;
    document.addEventListener("visibilitychange", () => this.assign());
  }

  /** Open streams as far as there are free ones, or end all of them where nobody can see the page. */
  assign() {
    const open = this.#to.open();
    if (document.hidden) {
      for (const task of open) task.stream?.abort();
      return;
    }
    const free = MAX_STREAMS - open.filter((task) => task.stream).length;
    const next = open.filter((task) => task.number !== null && !task.stream && task.card);
    for (const task of next.sort((one, other) => one.number - other.number).slice(0, Math.max(0, free))) {
      task.stream = new AbortController();
      this.#follow(task, task.stream.signal);
    }
  }

  async #follow(task, signal) {
    let isCut = false;
    try {
      const path = `v1/jobs/${task.number}/events?previews=true`;
      for await (const batch of events(path, { last: task.last, signal })) this.#to.read(task, batch);
      await this.#to.settle(task, signal);
    } catch (error) {
      isCut = !signal.aborted;
      if (isCut && !(error instanceof Refusal) && !(error instanceof TypeError)) throw error;
    } finally {
      task.stream = null;
    }
    // What was cut goes on after the page's next question: the server may be gone, and have another number for it then.
    if (!isCut) this.assign();
  }
}

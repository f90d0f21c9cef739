// The requests of this page as tasks of the server, which outlive it: sent, followed, and found again.

import { asText } from "../form/form.js";
import { text } from "../language/text.js";
import { Refusal, UNREACHABLE, ask, send } from "../shell/server.js";
import { forget, remember, remembered, watch } from "../storage/memory.js";
import { events } from "./events.js";

// Of the six connections to a host that a browser opens for all its tabs.
const MAX_STREAMS = 2;
// Between the last event of a request and its saved images.
const SAVING_SECONDS = 0.15;
const MAX_LISTED = 200;
// A server that restarts, or a proxy before one.
const COMING_BACK = [502, 503, 504];
const ENDED = ["completed", "failed", "cancelled"];

export class TaskList {
  #tasks = new Map();
  #list;

  /**
   * `list` has `shown(request)`, which returns a new card, `gone(card)`, `failed(error)`, and `done(request)` for one that
   * was under way while this page was open.
   */
  constructor(list) {
    this.#list = list;
    watch((id) => this.#adopt(id));
    document.addEventListener("visibilitychange", () => this.#assignStreams());
  }

  /** Whether something is under way. */
  get busy() {
    return this.#open().length > 0;
  }

  /** The numbers of their jobs, while they are under way. */
  get numbers() {
    return this.#open().map((task) => task.number);
  }

  /** Send a request. */
  start(request) {
    const task = this.#add({ id: newId(), at: Date.now(), isSent: false, request });
    this.#remember(task);
    this.#show(task);
    this.#send(task);
  }

  /** Cancel a card's request. */
  async cancel(card) {
    const task = this.#of(card);
    if (task?.isSent === false) {
      this.#end(task, { status: "cancelled", code: "cancelled", error: "" });
      // It may have arrived all the same.
      task.isSent = true;
    }
    try {
      await this.#update(task, await send("DELETE", address(task)));
    } catch (error) {
      if (error.status !== 404) this.#list.failed(error);
    }
  }

  /** Forget a card's request. */
  remove(card) {
    const task = this.#of(card);
    if (task) this.#drop(task);
  }

  /** Find the remembered requests again. */
  restore() {
    for (const { id } of remembered()) this.#adopt(id);
  }

  /** Ask the server how far all of them are; throws Refusal. */
  async refresh() {
    if (!this.busy) return;
    const { data } = await ask(`v1/jobs?limit=${MAX_LISTED}`);
    const jobs = new Map(data.map((job) => [job.id, job]));
    for (const task of this.#open()) {
      const job = jobs.get(task.number);
      const isUnderWay = job !== undefined && !ENDED.includes(job.state);
      // A stream says nothing while a request waits, and its wait becomes shorter all the same.
      if (task.stream) {
        if (isUnderWay && job.state === "queued" && task.card?.state === "queued") this.#follow(task, job);
      } else if (isUnderWay) this.#follow(task, job);
      else await (task.card && !task.isSent ? this.#send(task) : this.#ask(task));
    }
    this.#assignStreams();
  }

  #open() {
    return [...this.#tasks.values()].filter((task) => !task.isOver);
  }

  #of(card) {
    return [...this.#tasks.values()].find((task) => task.card === card);
  }

  #add(kept) {
    const task = { ...kept, card: null, number: null, job: null, last: null, stream: null, isOver: false, isAwaited: false };
    this.#tasks.set(task.id, task);
    return task;
  }

  #remember({ id, at, isSent, request }) {
    // An image would fill the browser's store.
    remember({ id, at, isSent, request: { ...request, source: null } });
  }

  #show(task) {
    task.card ??= this.#list.shown(task.request);
  }

  /** Take over a request that another tab, or this page before it was reloaded, has sent, or drop one it removed. */
  #adopt(id) {
    const kept = remembered().find((each) => each.id === id);
    const known = this.#tasks.get(id);
    if (!kept && known) this.#drop(known);
    if (!kept || known) return;
    const task = this.#add(kept);
    // Shown when the server knows it: with another key, it is not this person's.
    this.#ask(task);
  }

  #drop(task) {
    this.#tasks.delete(task.id);
    task.stream?.abort();
    forget(task.id);
    if (task.card) this.#list.gone(task.card);
  }

  async #send(task) {
    if (task.isSending) return;
    task.isSending = true;
    try {
      const status = await send("PUT", address(task), await asText(task.request));
      task.isSent = true;
      this.#remember(task);
      await this.#update(task, status);
    } catch (error) {
      this.#list.failed(error);
      if (error.code === UNREACHABLE || COMING_BACK.includes(error.status)) task.card?.wait(error.message);
      // Another try of the same request was faster.
      else if (error.status === 409) task.isSent = true;
      else this.#refuse(task, error);
    } finally {
      task.isSending = false;
    }
  }

  #refuse(task, error) {
    task.isOver = true;
    this.#show(task);
    forget(task.id);
    this.#tasks.delete(task.id);
    task.card.refused(error);
  }

  async #ask(task) {
    try {
      await this.#update(task, await ask(address(task)));
    } catch (error) {
      if (error.status === 404 && !task.isSent) await this.#sendAgain(task);
      // Perhaps another key's: its tabs go on showing it.
      else if (error.status === 404 && !task.card) this.#tasks.delete(task.id);
      else if (error.status === 404 || error.status === 410) this.#drop(task);
      else this.#list.failed(error);
    }
  }

  async #sendAgain(task) {
    // A request of this page is being sent; one of a page that was closed meanwhile is not.
    if (task.card) return;
    if (task.request.hasSource) this.#refuse(task, new Refusal(text("jobs.lost")));
    else await this.#send(task);
  }

  /** Show what the server says about a task. */
  async #update(task, status) {
    task.isSent = true;
    if (task.isOver || !this.#tasks.has(task.id)) return;
    if (task.number !== status.requestId) Object.assign(task, { number: status.requestId, last: null, job: null });
    this.#show(task);
    if (ENDED.includes(status.status)) {
      this.#end(task, status);
      return;
    }
    task.isAwaited = true;
    if (task.card.state === "sending") {
      task.card.queued({ number: task.number, position: status.queue_position ?? 0, wait: status.estimated_time ?? 0 });
    }
    this.#assignStreams();
  }

  #end(task, status) {
    task.isOver = true;
    task.stream?.abort();
    if (status.status === "completed") {
      task.card.result(status, task.job);
      if (task.isAwaited) this.#list.done(task.request);
    } else task.card.fail({ message: status.error, code: status.code });
  }

  /** Show a job as /v1/jobs describes it. */
  #follow(task, job) {
    task.job = job;
    if (job.state === "processing") task.card.progress(job);
    else task.card.showPosition(job.queue_position ?? 0, job.queue_wait ?? 0);
  }

  /** Stream the events of those that run or will run next, while somebody can see them. */
  #assignStreams() {
    const open = this.#open();
    if (document.hidden) {
      for (const task of open) task.stream?.abort();
      return;
    }
    const free = MAX_STREAMS - open.filter((task) => task.stream).length;
    const next = open.filter((task) => task.number !== null && !task.stream && task.card);
    for (const task of next.sort((one, other) => one.number - other.number).slice(0, Math.max(0, free))) {
      task.stream = new AbortController();
      this.#stream(task, task.stream);
    }
  }

  async #stream(task, controller) {
    try {
      const path = `v1/jobs/${task.number}/events?previews=true`;
      for await (const batch of events(path, { last: task.last, signal: controller.signal })) this.#read(task, batch);
      await this.#settle(task, controller);
    } catch (error) {
      // The next `refresh` goes on where it was cut.
      if (!controller.signal.aborted && !(error instanceof Refusal) && !(error instanceof TypeError)) throw error;
    } finally {
      task.stream = null;
    }
    this.#assignStreams();
  }

  #read(task, batch) {
    if (task.isOver) return;
    let latest = null;
    for (const { name, id, data } of batch) {
      task.last = id ?? task.last;
      if (name === "preview") task.card.preview(data);
      else if (data.state) latest = data;
    }
    // A stream begins with what was missed: of that, only the last counts.
    if (latest) task.job = latest;
    if (latest && !ENDED.includes(latest.state)) this.#follow(task, latest);
  }

  /** The job is over: its task is as soon as the images are saved, or it waits for another attempt. */
  async #settle(task, controller) {
    for (let tries = 0; tries < 20 && !task.isOver && !controller.signal.aborted; tries += 1) {
      await this.#ask(task);
      if (!task.isOver) await new Promise((resolve) => { setTimeout(resolve, 1000 * SAVING_SECONDS * (1 + tries)); });
    }
  }
}

function address(task) {
  return `v1/tasks/${task.id}`;
}

/** Return a random UUID; over http the browser makes none itself. */
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const digits = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

// The requests of this page as tasks of the server, which outlive it: sent, cancelled, found again and removed.

import { text } from "../language/text.js";
import { Refusal, ask, isAway, send } from "../shell/server.js";
import { isHeldElsewhere } from "../storage/holders.js";
import { disown, forget, recall } from "../storage/memory.js";
import { keepSource } from "../storage/sources.js";
import { TaskProgress } from "./progress.js";
import { RememberedTasks } from "./remembered.js";
import { Sending } from "./sending.js";
import { addressOf, asTask, isWithoutImages, keepTask, maySend, newTask } from "./task.js";

export class TaskList {
  #tasks = new Map();
  #progress = new TaskProgress({
    open: () => this.#open(),
    has: (task) => this.#tasks.has(task.id),
    ask: (task) => (task.card && !task.isSent ? this.#sending.send(task) : this.#ask(task)),
    done: (request) => this.#list.done(request),
  });
  #sending = new Sending({
    arrived: (task, status) => this.#update(task, status),
    refused: (task, error) => this.#refuse(task, error),
    failed: (error) => this.#list.failed(error),
  });
  #remembered = new RememberedTasks({
    has: (id) => this.#tasks.has(id),
    // Shown when the server knows it: with another key, it is not this person's.
    found: (kept) => this.#ask(this.#add(asTask(kept))),
    removed: (id) => { if (this.#tasks.has(id)) this.#drop(this.#tasks.get(id)); },
  });
  #list;

  /**
   * `list` has `shown(request, at)`, which returns a new card of a time, `gone(card)`, `failed(error)`, and `done(request)`
   * for one that was under way while this page was open.
   */
  constructor(list) {
    this.#list = list;
  }

  /** Whether something is under way. */
  get busy() {
    return this.#open().length > 0 || this.#sending.isUnfinished;
  }

  /** The numbers of their jobs, while they are under way. */
  get numbers() {
    return this.#open().map((task) => task.number);
  }

  /** Return the prompt of the job with this number, while it is under way. */
  promptOf(number) {
    return this.#open().find((task) => task.number === number)?.request.fields.prompt;
  }

  /** Send a request. */
  start(request) {
    const task = this.#add(newTask(request));
    keepTask(task);
    if (request.hasSource) keepSource(task.id, request.source);
    this.#show(task);
    this.#sending.send(task);
  }

  /** Cancel a card's request. */
  async cancel(card) {
    const task = this.#of(card);
    if (!task.isSent) {
      this.#leave(task);
      card.fail({ message: "", code: "cancelled" });
      await this.#sending.cancel(task);
      return;
    }
    try {
      await this.#update(task, await send("DELETE", addressOf(task.id)));
    } catch (error) {
      if (error.status === 404) return;
      if (isAway(error)) this.#sending.cancelLater(task);
      if (!task.isOver) card.notCancelled({ isLater: isAway(error) });
      this.#list.failed(error);
    }
  }

  /** Forget a card's request. */
  remove(card) {
    const task = this.#of(card);
    if (task) this.#drop(task);
  }

  /** Find the remembered requests again, the newest first. */
  async restore() {
    await this.#remembered.restore();
  }

  /** Send nothing more of what was asked for with another key. */
  leaveUnsent() {
    disown();
    this.#sending.leaveCancelled();
    for (const task of this.#open().filter(({ isSent }) => !isSent)) {
      task.sending?.abort();
      this.#refuse(task, new Refusal(text("jobs.unsent")));
    }
  }

  /** Forget what this tab has asked for and could not send; of a tab that it is a copy of, nothing. */
  forgetUnsent() {
    disown().filter((id) => recall(id)?.isSent === false && !isHeldElsewhere(id)).forEach(forget);
  }

  /** Ask the server how far all of them are; throws Refusal. */
  async refresh() {
    this.#remembered.adoptAbandoned();
    if (!this.busy) return;
    await this.#sending.repeat();
    await this.#progress.refresh();
  }

  #open() {
    return [...this.#tasks.values()].filter((task) => !task.isOver);
  }

  #of(card) {
    return [...this.#tasks.values()].find((task) => task.card === card);
  }

  #add(task) {
    this.#tasks.set(task.id, task);
    return task;
  }

  #show(task) {
    task.card ??= this.#list.shown(task.request, task.at);
  }

  #drop(task) {
    this.#tasks.delete(task.id);
    task.stream?.abort();
    forget(task.id);
    if (task.card) this.#list.gone(task.card);
  }

  #refuse(task, error) {
    this.#show(task);
    this.#leave(task);
    task.card.refused(error);
  }

  /** Send a request no more; its card stays. */
  #leave(task) {
    task.isOver = true;
    forget(task.id);
    this.#tasks.delete(task.id);
  }

  async #ask(task) {
    if (task.isAsked) return;
    task.isAsked = true;
    try {
      await this.#update(task, await ask(addressOf(task.id)));
    } catch (error) {
      if (error.status === 404 && !task.isSent) await this.#sendAgain(task);
      // Perhaps another key's: its tabs go on showing it.
      else if (error.status === 404 && !task.card) this.#tasks.delete(task.id);
      else if (error.status === 404 || error.status === 410) this.#drop(task);
      else this.#list.failed(error);
    } finally {
      task.isAsked = false;
    }
  }

  async #sendAgain(task) {
    // A request of this page is being sent; one of a page that was closed meanwhile is not.
    if (task.card) return;
    const isLost = isWithoutImages(task.request);
    if (maySend(task) && !isLost) await this.#sending.send(task);
    else this.#refuse(task, new Refusal(text(isLost ? "jobs.lost" : "jobs.unsent")));
  }

  /** Show what the server says about a task. */
  async #update(task, status) {
    if (task.isOver || !this.#tasks.has(task.id)) return;
    if (!task.isSent) keepTask(Object.assign(task, { isSent: true }));
    this.#show(task);
    await this.#progress.show(task, status);
  }
}

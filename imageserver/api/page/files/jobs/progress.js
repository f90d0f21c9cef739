// How far the tasks are, shown on their cards: by what the server answers, by streams of events, and by a short list.

import { listed } from "../shell/lists.js";
import { ask } from "../shell/server.js";
import { recall } from "../storage/memory.js";
import { JobStreams } from "./streams.js";
import { keepTask } from "./task.js";

// Between the last event of a request and its saved images.
const SAVING_SECONDS = 0.15;
const ENDED = ["completed", "failed", "cancelled"];
// What a card tells of a finished job: the server forgets its jobs.
const TOLD = ["model", "width", "height", "steps", "n", "total_steps", "cache", "created_at", "started_at"];

export class TaskProgress {
  #streams = new JobStreams({
    open: () => this.#to.open(),
    read: (task, batch) => this.#read(task, batch),
    settle: (task, signal) => this.#settle(task, signal),
  });
  #to;

  /**
   * `to.open()` returns the tasks that are under way, `to.has(task)` whether one was not removed; `to.ask(task)` asks the
   * server about one and calls `show`, and `to.done(request)` is called for one that was under way while this page was open.
   */
  constructor(to) {
    this.#to = to;
  }

  /** Show what the server answers about a task, which has a card. */
  async show(task, status) {
    if (task.number !== status.requestId) Object.assign(task, { number: status.requestId, last: null, job: null });
    if (ENDED.includes(status.status)) {
      await this.#end(task, status);
      return;
    }
    task.isAwaited = true;
    if (task.card.state === "sending") {
      task.card.queued({ number: task.number, position: status.queue_position ?? 0, wait: status.estimated_time ?? 0 });
    }
    this.#streams.assign();
  }

  /** Show how far all of them are, and ask about those that are not under way; throws Refusal. */
  async refresh() {
    const open = this.#to.open().filter((task) => !task.stream || task.card.state === "queued");
    const jobs = await listed("v1/jobs/progress?", open.map(({ number }) => number).filter(Boolean));
    for (const task of open.filter((each) => !each.isOver && this.#to.has(each))) {
      const job = jobs.get(task.number);
      // A stream says nothing while a request waits, and its wait becomes shorter all the same.
      if (task.stream) {
        if (job?.state === "queued" && task.card.state === "queued") follow(task, job);
      } else if (job) follow(task, job);
      else await this.#to.ask(task);
    }
    this.#streams.assign();
  }

  async #end(task, status) {
    task.isOver = true;
    task.stream?.abort();
    if (status.status === "completed") {
      const job = await ended(task);
      if (!this.#to.has(task)) return;
      // The server remembers no more than its last jobs.
      if (job?.revised_prompt) task.revised = job.revised_prompt;
      if (job) task.made = Object.fromEntries(TOLD.map((name) => [name, job[name]]));
      task.card.result(status, task.made ?? null, task.revised);
      if (task.isAwaited) this.#to.done(task.request);
    } else task.card.fail({ message: status.error, code: status.code });
    rememberEnd(task);
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
    if (latest && !ENDED.includes(latest.state)) follow(task, latest);
  }

  /** The job is over: its task is as soon as the images are saved, or it waits for another attempt. */
  async #settle(task, signal) {
    for (let tries = 0; tries < 20 && !task.isOver && !signal.aborted; tries += 1) {
      await this.#to.ask(task);
      if (!task.isOver) await new Promise((resolve) => { setTimeout(resolve, 1000 * SAVING_SECONDS * (1 + tries)); });
    }
  }
}

/** Show a job as a list or an event describes it. */
function follow({ card }, job) {
  if (job.state === "processing") card.progress(job);
  else card.showPosition(job.queue_position ?? 0, job.queue_wait ?? 0);
}

/**
 * Return the job of a task that has ended, asked for where its end was not heard: it has the size, the pace and the
 * improved prompt. Of one that had ended before this page was opened, only the prompt is worth a question.
 */
async function ended({ job, number, request, revised, isAwaited }) {
  const isWanted = isAwaited || (request.fields.enhance && !revised);
  if (!isWanted || ENDED.includes(job?.state)) return job;
  return ask(`v1/jobs/${number}`).catch(() => job);
}

/** Remember that a task has ended, unless that is remembered already: it is found again and again. */
function rememberEnd(task) {
  const kept = recall(task.id);
  if (kept !== null && (!kept.isOver || kept.revised !== task.revised)) keepTask(task);
}

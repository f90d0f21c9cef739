// One line of the queue: a request that runs or waits, or a model that is being loaded.

import { text } from "../language/text.js";
import { stepOf } from "../jobs/steps.js";
import { timeOf } from "../jobs/times.js";

const PARTS = ["h3", ".own", ".facts", ".status", "progress", "button"];

export class JobRow {
  id = null;
  isOwn = false;
  element = document.getElementById("queue-row").content.firstElementChild.cloneNode(true);
  #parts = Object.fromEntries(PARTS.map((part) => [part.replace(".", ""), this.element.querySelector(part)]));
  // What it shows, so that a hundred rows cost only what has changed.
  #shown = {};

  /** `cancel` is called when a person presses the button. */
  constructor(cancel) {
    this.#parts.button.addEventListener("click", () => cancel());
  }

  set isCancelling(is) {
    this.#parts.button.disabled = is;
  }

  /** Show a job as /v1/jobs describes it. */
  show(job, isOwn) {
    this.id = job.id;
    this.isOwn = isOwn;
    const title = titleOf(job);
    const isRunning = job.state === "processing";
    this.#set("h3", "textContent", title);
    this.#set("own", "hidden", !isOwn);
    this.#set("facts", "textContent", factsOf(job));
    this.#set("status", "textContent", isRunning ? running(job) : waiting(job));
    this.#set("progress", "hidden", !isRunning);
    this.#set("progress", "value", job.total_steps && job.step / job.total_steps);
    this.#set("progress", "ariaLabel", text("jobs.progress", { prompt: title }));
    this.#set("button", "ariaLabel", text("queue.cancel.of", { prompt: title }));
  }

  #set(part, property, value) {
    const name = `${part} ${property}`;
    if (this.#shown[name] === value) return;
    this.#shown[name] = this.#parts[part][property] = value;
  }
}

function factsOf(job) {
  const size = job.width ? `${job.width}×${job.height}` : null;
  const count = job.n > 1 ? text("queue.images", { count: job.n }) : null;
  const facts = [text("queue.number", { number: job.id }), job.model, size, count, job.device];
  return facts.filter(Boolean).join(" · ");
}

function titleOf(job) {
  if (job.kind === "model") return text("queue.model", { model: job.model });
  return job.kind === "caption" ? text("queue.caption") : job.prompt;
}

function running(job) {
  if (job.kind === "model") return text("queue.percent", { percent: job.step });
  const parts = [stepOf(job)];
  const waited = job.started_at - job.created_at;
  if (waited >= 1) parts.push(text("queue.waited", { time: timeOf(waited) }));
  return parts.join(" ");
}

function waiting(job) {
  if (job.queue_wait === null) return text("queue.waiting");
  const key = job.queue_position ? "queue.ahead" : "queue.next";
  const own = timeOf(job.expected_seconds);
  return text(key, { count: job.queue_position, time: timeOf(job.queue_wait), own });
}

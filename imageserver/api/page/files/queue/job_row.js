// One line of the queue: a request that runs or waits, or a model that is being loaded.

import { text } from "../language/text.js";
import { timeOf } from "../jobs/times.js";

export class JobRow {
  id = null;
  isOwn = false;
  element = document.getElementById("queue-row").content.firstElementChild.cloneNode(true);

  /** `cancel` is called when a person presses the button. */
  constructor(cancel) {
    this.#part("button").addEventListener("click", () => cancel());
  }

  set isCancelling(is) {
    this.#part("button").disabled = is;
  }

  /** Show a job as /v1/jobs describes it. */
  show(job, isOwn) {
    this.id = job.id;
    this.isOwn = isOwn;
    const title = job.kind === "model" ? text("queue.model", { model: job.model }) : job.prompt;
    this.#part("h3").textContent = title;
    this.#part(".own").hidden = !isOwn;
    const size = job.width ? `${job.width}×${job.height}` : null;
    const count = job.n > 1 ? text("queue.images", { count: job.n }) : null;
    const facts = [text("queue.number", { number: job.id }), job.model, size, count, job.device];
    this.#part(".facts").textContent = facts.filter(Boolean).join(" · ");
    this.#part(".status").textContent = job.state === "processing" ? running(job) : waiting(job);
    const bar = this.#part("progress");
    bar.hidden = job.state !== "processing";
    bar.value = job.progress;
    bar.setAttribute("aria-label", text("jobs.progress", { prompt: title }));
    this.#part("button").setAttribute("aria-label", text("queue.cancel.of", { prompt: title }));
  }

  #part(name) {
    return this.element.querySelector(name);
  }
}

function running(job) {
  if (job.kind === "model") return text("queue.percent", { percent: Math.round(100 * job.progress) });
  const parts = [text("queue.step", { step: job.step, total: job.total_steps })];
  if (job.expected_seconds) parts.push(text("queue.left", { time: timeOf(job.expected_seconds) }));
  const waited = job.started_at - job.created_at;
  if (waited >= 1) parts.push(text("queue.waited", { time: timeOf(waited) }));
  return parts.join(" · ");
}

function waiting(job) {
  if (job.queue_wait === null) return text("queue.waiting");
  const key = job.queue_position ? "queue.ahead" : "queue.next";
  const own = timeOf(job.expected_seconds);
  return text(key, { count: job.queue_position, time: timeOf(job.queue_wait), own });
}

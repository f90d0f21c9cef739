// A card: one request from sending to its images, or to the reason why it failed.

import { asBlob } from "../form/fields.js";
import { linkTo } from "../form/links.js";
import { text } from "../language/text.js";
import { ImageSlot, localAddress } from "./image.js";
import { timeOf } from "./times.js";

const PARTS = ["h3", ".status", "progress", ".images", ".error", ".warnings", ".cancel", ".again", ".remove"];
const CACHE = { hit: "jobs.cache.hit", join: "jobs.cache.join" };

export class Card {
  #parts = {};
  #slots = [];
  #began = null;

  /**
   * Show a request.
   *
   * Calls the `page`'s `announce(sentence)`, `refused(card, refusal)` before the request is queued, and for its buttons
   * `cancel(card)`, `again(card)`, `remove(card)`, `withSeed(request, seed)` and `startFrom(address)`. A finished image
   * gets what `addActions(place, {request, seed, address})` adds.
   */
  constructor(request, page) {
    this.request = request;
    this.page = page;
    this.number = null;
    this.state = "sending";
    this.element = document.getElementById("card").content.firstElementChild.cloneNode(true);
    for (const part of PARTS) this.#parts[part.replace(".", "")] = this.element.querySelector(part);
    const { h3, progress, cancel, again, remove } = this.#parts;
    h3.textContent = request.fields.prompt;
    progress.setAttribute("aria-label", text("jobs.progress", { prompt: request.fields.prompt }));
    cancel.addEventListener("click", () => this.cancel());
    again.addEventListener("click", () => page.again(this));
    remove.addEventListener("click", () => page.remove(this));
    this.#set("sending", text("jobs.sending"));
  }

  /** Cancel the request. */
  cancel() {
    this.#parts.cancel.disabled = true;
    this.#parts.status.textContent = text("jobs.cancelling");
    this.page.cancel(this);
  }

  /** Remove the card from the page. */
  leave() {
    for (const slot of this.#slots) slot.release();
    this.element.remove();
  }

  queued({ number, position, wait }) {
    if (this.number === null) this.page.announce(text("jobs.queued.said", { number }));
    this.number = number;
    this.showPosition(position, wait);
  }

  /** Say that the server takes the request later. */
  wait(sentence) {
    this.#parts.status.textContent = text("jobs.later", { sentence });
  }

  /** Show the position in the queue and the wait in seconds. */
  showPosition(position, wait) {
    const key = position === 1 ? "jobs.ahead.one" : "jobs.ahead";
    this.#set("queued", position ? text(key, { count: position, time: timeOf(wait) }) : text("jobs.next"));
  }

  progress({ step, total_steps: total }) {
    if (this.state !== "running" || step < this.#began.step) {
      this.#began = { at: performance.now(), step };
      this.page.announce(text("jobs.running.said", { number: this.number }));
    }
    const done = step - this.#began.step;
    const left = done ? ((performance.now() - this.#began.at) / 1000 / done) * (total - step) : null;
    const key = left === null ? "jobs.step" : "jobs.step.left";
    this.#set("running", text(key, { step, total, time: timeOf(left) }));
    this.#parts.progress.value = total ? step / total : 0;
  }

  preview({ image_b64: image, index }) {
    this.#slot(index).show(URL.createObjectURL(asBlob(image, "jpeg")), "preview");
  }

  /** Show the images of a finished task; `job` is what else is known about it, or null. */
  result(task, job) {
    const { request, page } = this;
    task.result_urls.map(localAddress).forEach((address, index) => {
      const seed = seedOf(request.seed, task.seeds[index], index);
      const slot = this.#slot(index);
      slot.show(address, "done", job);
      slot.describe(seed, request.hasSource ? null : linkTo(request, seed, job?.model));
      slot.find(".with-seed").addEventListener("click", () => page.withSeed(request, seed));
      slot.find(".start-from").addEventListener("click", () => page.startFrom(address));
      page.addActions(slot.find("figcaption"), { request, seed, address });
    });
    this.#set("done", this.#summary(task, job));
    this.#parts.warnings.replaceChildren(...task.warnings.map(item));
    page.announce(text("jobs.done.said", { number: task.requestId }));
  }

  refused(refusal) {
    if (this.state === "sending" && refusal.code !== "cancelled") this.page.refused(this, refusal);
    else this.fail(refusal);
  }

  /** Show why the request failed, and when to try again. */
  fail({ message, code, retryAfter }) {
    const cancelled = code === "cancelled";
    this.#set(cancelled ? "cancelled" : "failed", cancelled ? text("jobs.cancelled") : "");
    this.#parts.error.textContent = cancelled ? "" : message;
    this.page.announce(cancelled ? text("jobs.cancelled.said") : message);
    this.#wait(Math.ceil(retryAfter ?? 0));
  }

  #summary(task, job) {
    const figures = [text("jobs.number", { number: task.requestId })];
    const model = job?.model ?? this.request.fields.model;
    if (model) figures.push(model);
    if (job) figures.push(`${job.width}×${job.height}`);
    figures.push(text("jobs.took", { seconds: task.processing_time }));
    const milliseconds = job && Math.round((1000 * task.processing_time) / job.total_steps);
    if (job?.cache === "miss") figures.push(text("jobs.pace", { milliseconds }));
    const waited = job?.started_at ? job.started_at - job.created_at : 0;
    if (waited >= 0.1) figures.push(text("jobs.waited", { seconds: waited.toFixed(1) }));
    if (job?.cache in CACHE) figures.push(text(CACHE[job.cache]));
    return figures.join(" · ");
  }

  #set(state, sentence) {
    const { status, progress, cancel, again, remove, images } = this.#parts;
    const over = ["done", "failed", "cancelled"].includes(state);
    const hasFocus = this.element.contains(document.activeElement);
    this.state = this.element.dataset.state = state;
    status.textContent = sentence;
    progress.hidden = cancel.hidden = over;
    remove.hidden = !over;
    again.hidden = !over || state === "done";
    if (over && state !== "done") images.replaceChildren();
    // Its button is gone: the focus stays here, or the keyboard would start again at the top of the page.
    if (over && hasFocus) this.element.focus();
  }

  #wait(left) {
    const { again } = this.#parts;
    again.textContent = left > 0 ? text("jobs.again.in", { seconds: left }) : text("jobs.again");
    if (left > 0) setTimeout(() => this.#wait(left - 1), 1000);
  }

  #slot(index) {
    const { images } = this.#parts;
    while (this.#slots.length <= index) {
      const slot = new ImageSlot(this.request.fields.prompt, this.#slots.length);
      this.#slots.push(slot);
      images.append(slot.element);
    }
    images.classList.toggle("single", this.#slots.length === 1);
    return this.#slots[index];
  }
}

/** Return the seed of an image; a JavaScript number cannot hold every seed. */
function seedOf(asked, answered, index) {
  return asked === null ? String(answered) : String(BigInt(asked) + BigInt(index));
}

function item(sentence) {
  const element = document.createElement("li");
  element.textContent = sentence;
  return element;
}

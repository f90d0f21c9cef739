// A card: one request from sending to its images, or to the reason why it failed.

import { asBlob } from "../form/fields.js";
import { linkTo } from "../form/links.js";
import { text } from "../language/text.js";
import { layersAt } from "../layers/names.js";
import { ImageSlot, localAddress } from "./image.js";
import { askedSteps, stepOf } from "./steps.js";
import { isWithoutImages } from "./task.js";
import { timeOf } from "./times.js";

const PARTS = ["h3", ".revised", ".status", "progress", ".images", ".error", ".warnings", ".cancel", ".again", ".remove"];
const CACHE = { hit: "jobs.cache.hit", join: "jobs.cache.join" };

export class Card {
  #parts = {};
  #slots = [];

  /**
   * Show a request.
   *
   * Calls the `page`'s `announce(sentence)`, `refused(card, refusal)` before the request is queued, and for its buttons
   * `cancel(card)`, `again(card)`, `remove(card)`, `withSeed(request, seed)` and `startFrom(address)`. A finished image
   * gets what `addActions(place, {request, seed, address, layers})` adds.
   */
  constructor(request, page) {
    this.request = request;
    this.page = page;
    this.number = null;
    this.state = null;
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

  /** Say that the request goes on, because the server has not heard that it is cancelled, or hears it later. */
  notCancelled({ isLater }) {
    this.#parts.cancel.disabled = false;
    this.#parts.status.textContent = text(isLater ? "jobs.cancel.later" : "jobs.cancel.failed");
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

  /** Show how far it is, and how long it takes still, as the server expects. */
  progress(job) {
    if (this.state !== "running") this.page.announce(text("jobs.running.said", { number: this.number }));
    this.#set("running", stepOf(job));
    this.#parts.progress.value = job.total_steps ? job.step / job.total_steps : 0;
  }

  preview({ image_b64: image, index }) {
    this.#slot(index).show(URL.createObjectURL(asBlob(image, "jpeg")), "preview");
  }

  /** Show the images of a finished task; `job` is what else is known about it, or null, `revised` its improved prompt. */
  result(task, job, revised) {
    const { page } = this;
    const request = made(this.request, revised);
    const addresses = task.result_urls.map(localAddress);
    addresses.forEach((address, index) => {
      const layers = layersAt(addresses, index, request.fields);
      const seed = seedOf(request.seed, task.seeds[index], Math.floor(index / layers.length));
      const slot = this.#slot(index);
      slot.show(address, "done", job);
      slot.describe(seed, linkTo(request, seed, job?.model ?? request.fields.model));
      slot.find(".with-seed").addEventListener("click", () => page.withSeed(request, seed));
      slot.find(".start-from").addEventListener("click", () => page.startFrom(address));
      page.addActions(slot.find("figcaption"), { request, seed, address, layers });
    });
    this.#set("done", this.#summary(task, job));
    this.#parts.revised.textContent = revised ? text("jobs.revised", { prompt: revised }) : "";
    const lost = isWithoutImages(request) ? [text("jobs.inputs.lost")] : [];
    this.#parts.warnings.replaceChildren(...[...task.warnings, ...lost].map(item));
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
    const asked = job && askedSteps(job);
    if (asked) figures.push(text("jobs.steps", { total: job.total_steps, asked }));
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
    // A hundred cards are told every second and a half where they are: what is as it was costs nothing.
    if (status.textContent !== sentence) status.textContent = sentence;
    if (state === this.state) return;
    const hasFocus = this.element.contains(document.activeElement);
    this.state = this.element.dataset.state = state;
    cancel.hidden = over;
    // A bar that moves without end costs each frame something for every request that waits.
    progress.hidden = state !== "running";
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

/** Return the request that makes the same image without a language model, where one has improved its prompt. */
function made(request, prompt) {
  if (!prompt) return request;
  return { ...request, written: undefined, fields: { ...request.fields, prompt, enhance: undefined } };
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

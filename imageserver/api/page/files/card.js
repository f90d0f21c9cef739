// A card: one request from sending to its images, or to the reason why it failed.

import { asBlob } from "./fields.js";
import { linkTo } from "./links.js";

const PARTS = ["h3", ".status", "progress", ".images", ".error", ".warnings", ".cancel", ".again", ".remove"];
const CACHE = { hit: "from the cache", join: "generated together with the same request" };

export class Card {
  #parts = {};
  #slots = [];
  #began = null;

  /**
   * Show a request.
   *
   * Calls the `page`'s `announce(sentence)`, `refused(card, refusal)` before the request is queued, and for its buttons
   * `cancel(card)`, `again(card)`, `remove(card)`, `withSeed(request, seed)` and `startFrom(address)`.
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
    progress.setAttribute("aria-label", `Progress of ${request.fields.prompt}`);
    cancel.addEventListener("click", () => this.cancel());
    again.addEventListener("click", () => page.again(this));
    remove.addEventListener("click", () => page.remove(this));
    this.#set("sending", "Sending.");
  }

  /** Cancel the request. */
  cancel() {
    this.#parts.cancel.disabled = true;
    this.#parts.status.textContent = "Cancelling.";
    this.page.cancel(this);
  }

  /** Remove the card from the page. */
  leave() {
    for (const slot of this.#slots) slot.release();
    this.element.remove();
  }

  queued({ number, position, wait }) {
    if (this.number === null) this.page.announce(`Request ${number} is queued.`);
    this.number = number;
    this.showPosition(position, wait);
  }

  /** Say that the server takes the request later. */
  wait(sentence) {
    this.#parts.status.textContent = `${sentence} The request is sent again when it does.`;
  }

  /** Show the position in the queue and the wait in seconds. */
  showPosition(position, wait) {
    const ahead = position === 1 ? "1 request ahead" : `${position} requests ahead`;
    this.#set("queued", position ? `${ahead}, about ${seconds(wait)}.` : "Next in the queue.");
  }

  progress({ step, total_steps: total }) {
    if (this.state !== "running" || step < this.#began.step) {
      this.#began = { at: performance.now(), step };
      this.page.announce(`Request ${this.number} is being generated.`);
    }
    const done = step - this.#began.step;
    const left = done ? ((performance.now() - this.#began.at) / 1000 / done) * (total - step) : null;
    this.#set("running", `Step ${step} of ${total}${left === null ? "" : `, about ${seconds(left)} left`}.`);
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
    });
    this.#set("done", this.#summary(task, job));
    this.#parts.warnings.replaceChildren(...task.warnings.map(item));
    page.announce(`Request ${task.requestId} is done.`);
  }

  refused(refusal) {
    if (this.state === "sending" && refusal.code !== "cancelled") this.page.refused(this, refusal);
    else this.fail(refusal);
  }

  /** Show why the request failed, and when to try again. */
  fail({ message, code, retryAfter }) {
    const cancelled = code === "cancelled";
    this.#set(cancelled ? "cancelled" : "failed", cancelled ? "Cancelled." : "");
    this.#parts.error.textContent = cancelled ? "" : message;
    this.page.announce(cancelled ? "The request was cancelled." : message);
    this.#wait(Math.ceil(retryAfter ?? 0));
  }

  #summary(task, job) {
    const figures = [`request ${task.requestId}`];
    if (job) figures.push(`${job.width}×${job.height}`);
    figures.push(`${task.processing_time} s`);
    if (job?.cache === "miss") figures.push(`${Math.round((1000 * task.processing_time) / job.total_steps)} ms a step`);
    const waited = job?.started_at ? job.started_at - job.created_at : 0;
    if (waited >= 0.1) figures.push(`${waited.toFixed(1)} s in the queue`);
    if (job?.cache in CACHE) figures.push(CACHE[job.cache]);
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
    again.textContent = left > 0 ? `Try again (best in ${left} s)` : "Try again";
    if (left > 0) setTimeout(() => this.#wait(left - 1), 1000);
  }

  #slot(index) {
    const { images } = this.#parts;
    while (this.#slots.length <= index) {
      const slot = new Slot(this.request.fields.prompt, this.#slots.length);
      this.#slots.push(slot);
      images.append(slot.element);
    }
    images.classList.toggle("single", this.#slots.length === 1);
    return this.#slots[index];
  }
}

class Slot {
  constructor(prompt, index) {
    this.url = "";
    this.element = document.getElementById("result-image").content.firstElementChild.cloneNode(true);
    this.prompt = index ? `${prompt}, image ${index + 1}` : prompt;
  }

  find(part) {
    return this.element.querySelector(part);
  }

  show(address, state, size = null) {
    const image = this.find("img");
    const last = this.url;
    this.url = image.src = address;
    // The last one stays until this one is decoded, or the image would flicker.
    image.decode().catch(() => {}).finally(() => URL.revokeObjectURL(last));
    image.alt = state === "preview" ? `Preview of ${this.prompt}` : this.prompt;
    if (size) Object.assign(image, { width: size.width, height: size.height });
    this.element.dataset.state = state;
  }

  describe(seed, link) {
    const download = this.find(".download");
    this.find("a").href = download.href = this.url;
    this.find("a").setAttribute("aria-label", "Open the image in a new tab");
    // The server names the file.
    download.download = "";
    this.find(".seed").textContent = `seed ${seed}`;
    this.find(".link").hidden = link === null;
    if (link) this.find(".link").href = link;
    this.find("figcaption").hidden = false;
    this.find("img").addEventListener("error", () => {
      this.find(".seed").textContent = `seed ${seed} · the server keeps the image no longer`;
    });
  }

  release() {
    URL.revokeObjectURL(this.url);
  }
}

/** Return an image's address at this page's server, by whatever name the server knows itself. */
function localAddress(address) {
  const { pathname, searchParams } = new URL(address);
  // From this server, also where a store would hand it out: the page shows nothing of another host.
  searchParams.set("redirect", "0");
  return `images/${pathname.split("/").pop()}?${searchParams}`;
}

/** Return the seed of an image; a JavaScript number cannot hold every seed. */
function seedOf(asked, answered, index) {
  return asked === null ? String(answered) : String(BigInt(asked) + BigInt(index));
}

function seconds(number) {
  return number < 90 ? `${Math.max(1, Math.round(number))} s` : `${Math.round(number / 60)} min`;
}

function item(sentence) {
  const element = document.createElement("li");
  element.textContent = sentence;
  return element;
}

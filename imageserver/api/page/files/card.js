// A card: one request from sending to its images, or to the reason why it failed.

import { generate } from "./generating.js";
import { asBlob } from "./fields.js";
import { asText } from "./form.js";

const PARTS = ["h3", ".status", "progress", ".images", ".error", ".warnings", ".cancel", ".again", ".remove"];
const CACHE = { hit: "from the cache", join: "generated together with the same request" };

export class Card {
  #parts = {};
  #slots = [];
  #stop = () => {};
  #began = null;
  #steps = null;

  /**
   * Show a request.
   *
   * Calls the `page`'s `announce(sentence)`, `refused(card, refusal)` before the request is queued, `lost(card)`,
   * `removed(card)`, and for its buttons `again(card)`, `withSeed(request, seed)` and `startFrom(blob)`.
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
    remove.addEventListener("click", () => this.remove());
    this.#set("sending", "Sending.");
  }

  /** Send the request. */
  async generate() {
    try {
      this.#stop = generate(await asText(this.request), this);
    } catch (error) {
      this.refused(error);
    }
  }

  /** Cancel the request. */
  cancel() {
    this.#parts.cancel.disabled = true;
    this.#parts.status.textContent = "Cancelling.";
    this.#stop();
  }

  /** Remove the card and its images. */
  remove() {
    for (const { url } of this.#slots) URL.revokeObjectURL(url);
    this.element.remove();
    this.page.removed(this);
  }

  queued({ request_id: number, queue_position: position, queue_wait: wait }) {
    if (this.number === null) this.page.announce(`Request ${number} is queued.`);
    this.number = number;
    this.showPosition(position, wait);
  }

  /** Show the position in the queue and the wait in seconds. */
  showPosition(position, wait) {
    if (this.state !== "sending" && this.state !== "queued") return;
    const ahead = position === 1 ? "1 request ahead" : `${position} requests ahead`;
    this.#set("queued", position ? `${ahead}, about ${seconds(wait)}.` : "Next in the queue.");
  }

  progress({ step, total_steps: total }) {
    if (this.state !== "running") {
      this.#began = { at: performance.now(), step };
      this.page.announce(`Request ${this.number} is being generated.`);
    }
    const done = step - this.#began.step;
    const left = done ? ((performance.now() - this.#began.at) / 1000 / done) * (total - step) : null;
    this.#steps = total;
    this.#set("running", `Step ${step} of ${total}${left === null ? "" : `, about ${seconds(left)} left`}.`);
    this.#parts.progress.value = step / total;
  }

  preview({ image_b64: image, index }) {
    this.#slot(index).show(asBlob(image, "jpeg"), "preview");
  }

  result(data) {
    const { request, page } = this;
    const images = data.images_b64 ?? [data.image_b64];
    images.forEach((image, index) => {
      const blob = asBlob(image, data.output_format);
      const seed = seedOf(request.seed, data.seeds[index], index);
      const slot = this.#slot(index);
      slot.show(blob, "done", data);
      slot.describe(seed, `${data.model ?? "image"}-${data.request_id}-${seed}.${data.output_format}`);
      slot.find(".with-seed").addEventListener("click", () => page.withSeed(request, seed));
      slot.find(".start-from").addEventListener("click", () => page.startFrom(blob));
    });
    this.#set("done", this.#summary(data));
    this.#parts.warnings.replaceChildren(...data.warnings.map(item));
    page.announce(`Request ${data.request_id} is done.`);
  }

  refused(refusal) {
    if (this.state === "sending" && refusal.code !== "cancelled") this.page.refused(this, refusal);
    else this.fail(refusal);
  }

  lost(sentence) {
    this.fail({ message: sentence });
    this.page.lost(this);
  }

  /** Show why the request failed, and when to try again. */
  fail({ message, code, retryAfter }) {
    const cancelled = code === "cancelled";
    this.#set(cancelled ? "cancelled" : "failed", cancelled ? "Cancelled." : "");
    this.#parts.error.textContent = cancelled ? "" : message;
    this.page.announce(cancelled ? "The request was cancelled." : message);
    this.#wait(Math.ceil(retryAfter ?? 0));
  }

  #summary(data) {
    const pace = Math.round((1000 * data.inference_time) / this.#steps);
    const figures = [`request ${data.request_id}`, `${data.width}×${data.height}`, `${data.inference_time} s`];
    if (data.cache === "miss" && this.#steps) figures.push(`${pace} ms a step`);
    if (data.queue_time >= 0.1) figures.push(`${data.queue_time.toFixed(1)} s in the queue`);
    if (data.cache in CACHE) figures.push(CACHE[data.cache]);
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

  show(blob, state, size = null) {
    const image = this.find("img");
    const last = this.url;
    this.url = image.src = URL.createObjectURL(blob);
    // The last one stays until this one is decoded, or the image would flicker.
    image.decode().catch(() => {}).finally(() => URL.revokeObjectURL(last));
    image.alt = state === "preview" ? `Preview of ${this.prompt}` : this.prompt;
    if (size) Object.assign(image, { width: size.width, height: size.height });
    this.element.dataset.state = state;
  }

  describe(seed, name) {
    const download = this.find(".download");
    this.find("a").href = download.href = this.url;
    this.find("a").setAttribute("aria-label", "Open the image in a new tab");
    download.download = name;
    this.find(".seed").textContent = `seed ${seed}`;
    this.find("figcaption").hidden = false;
  }
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

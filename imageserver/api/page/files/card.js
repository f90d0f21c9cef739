// A card: one request from the moment it is sent to its images, or to the reason why there are none.

import { generate } from "./generating.js";
import { asBlob } from "./fields.js";
import { asText } from "./form.js";

const PARTS = ["h3", ".told", "progress", ".images", ".error", ".warnings", ".cancel", ".again", ".remove"];
const CACHE = { hit: "from the cache", join: "generated together with the same request" };

export class Card {
  #parts = {};
  #slots = [];
  #stop = () => {};
  #began = null;
  #steps = null;

  /**
   * Show and generate a request.
   *
   * `page` is told `news(sentence)`, `refused(card, refusal)` before it was taken, `lost(card)`, `removed(card)`,
   * and what a person asks for: `again(card)`, `withSeed(request, seed)`, `startFrom(blob)`.
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

  /** Stop it. */
  cancel() {
    this.#parts.cancel.disabled = true;
    this.#parts.told.textContent = "Stopping.";
    this.#stop();
  }

  /** Take the card and its images away. */
  remove() {
    for (const { url } of this.#slots) URL.revokeObjectURL(url);
    this.element.remove();
    this.page.removed(this);
  }

  queued({ request_id: number, queue_position: position, queue_wait: wait }) {
    if (this.number === null) this.page.news(`Request ${number} was taken.`);
    this.number = number;
    this.place(position, wait);
  }

  /** Say how many go before it, and for about how many seconds. */
  place(position, wait) {
    if (this.state !== "sending" && this.state !== "queued") return;
    const before = position === 1 ? "1 request goes before it" : `${position} requests go before it`;
    this.#set("queued", position ? `${before}, about ${seconds(wait)}.` : "It is next.");
  }

  progress({ step, total_steps: total }) {
    if (this.state !== "running") {
      this.#began = { at: performance.now(), step };
      this.page.news(`Request ${this.number} is being generated.`);
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
    page.news(`Request ${data.request_id} is done.`);
  }

  refused(refusal) {
    if (this.state === "sending" && refusal.code !== "cancelled") this.page.refused(this, refusal);
    else this.fail(refusal);
  }

  lost(sentence) {
    this.fail({ message: sentence });
    this.page.lost(this);
  }

  /** Say why there is no image, and when it may be tried again. */
  fail({ message, code, retryAfter }) {
    const cancelled = code === "cancelled";
    this.#set(cancelled ? "cancelled" : "failed", cancelled ? "Cancelled." : "");
    this.#parts.error.textContent = cancelled ? "" : message;
    this.page.news(cancelled ? "The request was cancelled." : message);
    this.#wait(Math.ceil(retryAfter ?? 0));
  }

  #summary(data) {
    const pace = Math.round((1000 * data.inference_time) / this.#steps);
    const facts = [`request ${data.request_id}`, `${data.width}×${data.height}`, `${data.inference_time} s`];
    if (data.cache === "miss" && this.#steps) facts.push(`${pace} ms a step`);
    if (data.queue_time >= 0.1) facts.push(`${data.queue_time.toFixed(1)} s in the queue`);
    if (data.cache in CACHE) facts.push(CACHE[data.cache]);
    return facts.join(" · ");
  }

  #set(state, sentence) {
    const { told, progress, cancel, again, remove, images } = this.#parts;
    const over = ["done", "failed", "cancelled"].includes(state);
    const hasFocus = this.element.contains(document.activeElement);
    this.state = this.element.dataset.state = state;
    told.textContent = sentence;
    progress.hidden = cancel.hidden = over;
    remove.hidden = !over;
    again.hidden = !over || state === "done";
    if (over && state !== "done") images.replaceChildren();
    // Its button is gone: who works with the keyboard shall not be sent back to the top of the page.
    if (over && hasFocus) this.element.focus();
  }

  #wait(left) {
    const { again } = this.#parts;
    again.textContent = left > 0 ? `Try again, best in ${left} s` : "Try again";
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
    this.element = document.getElementById("image").content.firstElementChild.cloneNode(true);
    this.prompt = index ? `${prompt}, image ${index + 1}` : prompt;
  }

  find(part) {
    return this.element.querySelector(part);
  }

  show(blob, state, size = null) {
    const image = this.find("img");
    const last = this.url;
    this.url = image.src = URL.createObjectURL(blob);
    // The one before stays until this one can be seen, or the image would flicker.
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

/** Return the seed of an image; JavaScript's numbers cannot hold all that a person may have asked for. */
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

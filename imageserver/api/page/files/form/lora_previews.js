// The previews inside LoRA files, asked for once somebody sees the list: they are larger than the rest of the page.

import { Refusal, ask } from "../shell/server.js";
import { asBlob } from "./fields.js";

const ADDRESS = /^data:image\/(\w+);base64,(.+)$/;

export class LoraPreviews {
  #box;
  #images = new Map();
  #observer = new IntersectionObserver((seen) => { if (seen.at(-1).isIntersecting) this.#load(); });

  /** `box` is the element that holds the list. */
  constructor(box) {
    this.#box = box;
  }

  /** Fill these elements, by the names of their LoRAs, as soon as the list is seen. */
  expect(images) {
    for (const image of this.#images.values()) URL.revokeObjectURL(image.src);
    this.#images = images;
    this.#observer.unobserve(this.#box);
    if (images.size) this.#observer.observe(this.#box);
  }

  async #load() {
    this.#observer.unobserve(this.#box);
    try {
      for (const { id, preview } of (await ask("v1/loras")).data) this.#show(this.#images.get(id), preview);
    } catch (error) {
      // The list serves without them.
      if (!(error instanceof Refusal)) throw error;
    }
  }

  #show(image, preview) {
    const found = image && ADDRESS.exec(preview);
    if (!found) return;
    image.src = URL.createObjectURL(asBlob(found[2], found[1]));
    image.hidden = false;
  }
}

// The images in the form outlive the page: those of now for this tab, those that were sent last for the next one.

import { keepFormImages, keptFormImages } from "../storage/memory.js";

export class FormImages {
  #form;
  #found = null;
  #isRestored = false;
  // What is kept for this tab, part by part; null while that is not known.
  #kept = null;
  #keeping = Promise.resolve();

  /** `form` has `images`, or null, `restoreImages(images)`, and `ready()`, which waits until they can be sent. */
  constructor(form) {
    this.#form = form;
  }

  /** Look for those of the form that is kept now. */
  find() {
    this.#found = keptFormImages();
  }

  /** Put them into the form, unless a person was faster or they are `replaced`; return whether none is lost. */
  async restore({ replaced }) {
    const { isOwn, hadSome, source } = (await (replaced ? null : this.#found)) ?? {};
    this.#isRestored = true;
    if (source && this.#form.images === null) {
      if (isOwn) this.#kept = partsOf(source);
      this.#form.restoreImages(source);
    }
    this.keep();
    return !hadSome || this.#form.images !== null;
  }

  /** Keep them, with `sent` for the next tab too. */
  keep({ sent = false } = {}) {
    if (this.#isRestored) this.#keeping = this.#keeping.then(() => this.#keep(sent));
  }

  async #keep(sent) {
    await this.#form.ready();
    const { images } = this.#form;
    const parts = partsOf(images);
    const kept = this.#kept;
    this.#kept = parts;
    if (parts.length !== kept?.length || parts.some((part, index) => !Object.is(part, kept[index]))) await keepFormImages(images);
    if (sent) await keepFormImages(images, { sent });
  }
}

function partsOf(images) {
  if (images === null) return [];
  const { image, mask, more, guide, fit } = images;
  return [image, mask, fit, guide?.image, guide?.preprocessor, guide?.scale, ...more];
}

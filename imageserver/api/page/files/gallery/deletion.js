// Deleted images, which can be had back while the bar is shown.

import { text } from "../language/text.js";
import { remove, restore } from "./saved_images.js";

const byId = (id) => document.getElementById(id);

export class Deletion {
  #bar = byId("gallery-undo");
  #deleted = [];
  #view;

  /** Calls the `view`'s `removed(items)`, `restored(items)`, `lost(count)` with what is not had back, and `failed(error)`. */
  constructor(view) {
    this.#view = view;
    byId("gallery-undo-button").addEventListener("click", () => this.#undo());
  }

  /** Delete images, and return those that are gone; `seconds` is how long the server lets that be undone. */
  async delete(items, seconds) {
    // The server counts from the first on, and what is asked for in the last second may come too late.
    const end = performance.now() + 1000 * (seconds - 1);
    const { done, gone } = await this.#each(items, (item) => remove(item.name));
    const removed = [...done, ...gone];
    if (removed.length) this.#view.removed(removed);
    this.#deleted = [...new Set([...this.#deleted, ...done])];
    this.#show();
    setTimeout(() => this.#forget(done), end - performance.now());
    return removed;
  }

  /** Move the bar into an element: behind a dialog nobody could reach it. */
  moveTo(element) {
    element.append(this.#bar);
  }

  async #undo() {
    const items = this.#deleted;
    const { done, gone } = await this.#each(items, (item) => restore(item.name));
    // What the server did not answer for can still be tried again.
    this.#forget([...done, ...gone]);
    this.#view.restored(done);
    if (done.length < items.length) this.#view.lost(items.length - done.length);
  }

  #forget(items) {
    this.#deleted = this.#deleted.filter((item) => !items.includes(item));
    this.#show();
  }

  #show() {
    const count = this.#deleted.length;
    this.#bar.hidden = count === 0;
    if (count) byId("gallery-undo-text").textContent = text(count === 1 ? "gallery.deleted.one" : "gallery.deleted", { count });
  }

  /** Do it for each image until that fails; return those for which it is `done`, and those that are `gone` already. */
  async #each(items, work) {
    const [done, gone] = [[], []];
    for (const item of items) {
      try {
        await work(item);
        done.push(item);
      } catch (error) {
        if (error.status !== 404) {
          this.#view.failed(error);
          break;
        }
        // Somebody else was faster.
        gone.push(item);
      }
    }
    return { done, gone };
  }
}

// Deleted images, which can be had back while the bar is shown.

import { text } from "../language/text.js";
import { remove, restore } from "./saved_images.js";

const byId = (id) => document.getElementById(id);

export class Deletion {
  #bar = byId("gallery-undo");
  #deleted = [];
  #timer = null;
  #view;

  /** Calls the `view`'s `removed(items)`, `restored(items)` and `failed(error)`. */
  constructor(view) {
    this.#view = view;
    byId("gallery-undo-button").addEventListener("click", () => this.#undo());
  }

  /** Delete images; `seconds` is how long the server lets that be undone. */
  async delete(items, seconds) {
    const deleted = await this.#each(items, (item) => remove(item.name));
    if (!deleted.length) return;
    this.#deleted = deleted;
    this.#view.removed(deleted);
    const key = deleted.length === 1 ? "gallery.deleted.one" : "gallery.deleted";
    byId("gallery-undo-text").textContent = text(key, { count: deleted.length });
    this.#bar.hidden = false;
    clearTimeout(this.#timer);
    // What is asked for in the last second may come too late.
    this.#timer = setTimeout(() => this.#hide(), 1000 * (seconds - 1));
  }

  async #undo() {
    const items = this.#deleted;
    this.#hide();
    this.#view.restored(await this.#each(items, (item) => restore(item.name)));
  }

  #hide() {
    this.#bar.hidden = true;
    this.#deleted = [];
  }

  /** Do it for each image, and return those for which it worked. */
  async #each(items, work) {
    const done = [];
    for (const item of items) {
      try {
        await work(item);
        done.push(item);
      } catch (error) {
        // Somebody else was faster.
        if (error.status !== 404) {
          this.#view.failed(error);
          break;
        }
      }
    }
    return done;
  }
}

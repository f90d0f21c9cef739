// One image as large as the window, with its details; arrows and swipes lead to its neighbours.

import { text } from "../language/text.js";
import { localAddress } from "../jobs/image.js";
import { layerNames } from "../layers/names.js";
import { Details } from "./details.js";
import { Zoom } from "./zoom.js";

const byId = (id) => document.getElementById(id);

export class Lightbox {
  #dialog = byId("lightbox");
  #image = byId("lightbox-image");
  #zoom;
  #details;
  #item = null;
  #isRemoving = false;
  #hasFailed = false;
  #view;

  /**
   * Calls the `view`'s `neighbour(item, step)`, `moved(item)`, `closed(item)`, `marked(item)`, `removed(item)`,
   * `renewed(name)`, which returns the item with its addresses of now or null, `startedFrom(address)`, `linked(item)`,
   * which returns the address of its settings or null, `used(part, item)`, `separated(item)`, to show it as one of
   * several layers, and `said(sentence)`.
   */
  constructor(view) {
    this.#view = view;
    this.#zoom = new Zoom(byId("lightbox-area"), this.#image, (step) => this.#step(step));
    this.#details = new Details(view);
    this.#dialog.addEventListener("keydown", (event) => this.#key(event));
    this.#dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      view.closed(this.#item);
    });
    byId("lightbox-close").addEventListener("click", () => view.closed(this.#item));
    byId("lightbox-last").addEventListener("click", () => this.#step(-1));
    byId("lightbox-next").addEventListener("click", () => this.#step(1));
    byId("lightbox-favourite").addEventListener("click", async () => {
      await view.marked(this.#item);
      this.#showFavourite();
    });
    byId("lightbox-layers").addEventListener("click", () => view.separated(this.#item));
    byId("lightbox-delete").addEventListener("click", () => this.#remove());
    this.#image.addEventListener("error", () => this.#renew());
    byId("lightbox-start").addEventListener("click", () => view.startedFrom(localAddress(this.#item.url)));
  }

  /** The image that was shown last. */
  get item() {
    return this.#item;
  }

  get isOpen() {
    return this.#dialog.open;
  }

  /** Show an image; `isLocked` is whether its server requires keys. */
  show(item, isLocked) {
    this.#hasFailed = false;
    this.#item = item;
    this.#zoom.reset();
    Object.assign(this.#image, { alt: item.prompt, width: item.width, height: item.height });
    this.#showAddress();
    this.#details.isLocked = isLocked;
    this.#details.show(item);
    byId("lightbox-layers").hidden = layerNames(item).length === 0;
    this.update(item);
    if (!this.isOpen) this.#dialog.showModal();
    this.#dialog.scrollTop = 0;
  }

  /** Show what has changed around the image: its neighbours, and whether it is a favourite. */
  update(item = this.#item) {
    const hadFocus = document.activeElement;
    this.#item = item;
    this.#showFavourite();
    byId("lightbox-last").disabled = !this.#view.neighbour(item, -1);
    byId("lightbox-next").disabled = !this.#view.neighbour(item, 1);
    // A disabled button would lose the focus, and the keyboard with it.
    if (hadFocus?.disabled) byId("lightbox-close").focus();
  }

  /** Close without a word to the view. */
  hide() {
    this.#dialog.close();
    this.#image.removeAttribute("src");
  }

  #showAddress() {
    const address = localAddress(this.#item.url);
    this.#image.src = address;
    Object.assign(byId("lightbox-download"), { href: address, download: this.#item.name });
  }

  #showFavourite() {
    byId("lightbox-favourite").setAttribute("aria-pressed", this.#item.favourite);
  }

  #step(step) {
    const item = this.#view.neighbour(this.#item, step);
    if (!item) return;
    this.#view.moved(item);
    this.#view.said(text("gallery.shown", { prompt: item.prompt }));
  }

  /** Delete the image: one, however long the key is held and however often it is pressed meanwhile. */
  async #remove({ repeat = false } = {}) {
    if (repeat || this.#isRemoving) return;
    this.#isRemoving = true;
    try {
      await this.#view.removed(this.#item);
    } finally {
      this.#isRemoving = false;
    }
  }

  /** Try once more where the image's address has expired. */
  async #renew() {
    if (this.#hasFailed || !this.isOpen) return;
    this.#hasFailed = true;
    const found = await this.#view.renewed(this.#item.name);
    if (found?.name !== this.#item.name) return;
    Object.assign(this.#item, found);
    this.#showAddress();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("textarea")) return;
    if (event.key === "ArrowRight") this.#step(1);
    else if (event.key === "ArrowLeft") this.#step(-1);
    else if (event.key === "Delete") this.#remove(event);
    else if (!this.#zoom.key(event.key)) return;
    event.preventDefault();
  }
}

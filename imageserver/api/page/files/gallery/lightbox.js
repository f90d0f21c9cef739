// One image as large as the window, with its details; arrows and swipes lead to its neighbours.

import { text } from "../language/text.js";
import { localAddress } from "../jobs/image.js";
import { Details } from "./details.js";
import { Zoom } from "./zoom.js";

const byId = (id) => document.getElementById(id);

export class Lightbox {
  #dialog = byId("lightbox");
  #image = byId("lightbox-image");
  #zoom;
  #details;
  #item = null;
  #view;

  /**
   * Calls the `view`'s `neighbour(item, step)`, `moved(item)`, `closed(item)`, `marked(item)`, `removed(item)`,
   * `startedFrom(address)`, `used(part, item)`, `canSetSize(item)` and `said(sentence)`.
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
    byId("lightbox-delete").addEventListener("click", () => view.removed(this.#item));
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
    const address = localAddress(item.url);
    this.#item = item;
    this.#zoom.reset();
    Object.assign(this.#image, { src: address, alt: item.prompt, width: item.width, height: item.height });
    Object.assign(byId("lightbox-download"), { href: address, download: item.name });
    this.#details.isLocked = isLocked;
    this.#details.show(item, this.#view.canSetSize(item));
    this.#showFavourite();
    byId("lightbox-last").disabled = !this.#view.neighbour(item, -1);
    byId("lightbox-next").disabled = !this.#view.neighbour(item, 1);
    if (!this.isOpen) this.#dialog.showModal();
    this.#dialog.scrollTop = 0;
  }

  /** Close without a word to the view. */
  hide() {
    this.#dialog.close();
    this.#image.removeAttribute("src");
  }

  #showFavourite() {
    byId("lightbox-favourite").setAttribute("aria-pressed", this.#item.favourite);
  }

  #step(step) {
    const item = this.#view.neighbour(this.#item, step);
    if (!item) return;
    this.#view.moved(item);
    const hadFocus = document.activeElement;
    // A disabled button would lose the focus, and the keyboard with it.
    if (hadFocus?.disabled) byId("lightbox-close").focus();
    this.#view.said(text("gallery.shown", { prompt: item.prompt }));
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("textarea")) return;
    if (event.key === "ArrowRight") this.#step(1);
    else if (event.key === "ArrowLeft") this.#step(-1);
    else if (event.key === "Delete") this.#view.removed(this.#item);
    else if (!this.#zoom.key(event.key)) return;
    event.preventDefault();
  }
}

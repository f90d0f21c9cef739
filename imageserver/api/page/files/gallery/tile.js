// One image of the grid: its thumbnail, and the controls to open, choose and mark it.

import { text } from "../language/text.js";
import { findImage, mark, thumbnailOf } from "./saved_images.js";

export class Tile {
  #parts = {};
  #hasFailed = false;

  /** Calls the `grid`'s `opened(item)`, `changed()` when it is chosen, `gone(tile)`, and `failed(error)`. */
  constructor(item, grid) {
    this.item = item;
    this.grid = grid;
    this.element = document.getElementById("tile").content.firstElementChild.cloneNode(true);
    for (const part of ["open", "img", "choose", "favourite"]) {
      this.#parts[part] = this.element.querySelector(part === "img" ? "img" : `.${part}`);
    }
    const { open, img, choose, favourite } = this.#parts;
    img.alt = item.prompt;
    open.addEventListener("click", () => grid.opened(this.item));
    choose.setAttribute("aria-label", text("gallery.choose", { prompt: item.prompt }));
    choose.addEventListener("change", () => grid.changed());
    favourite.setAttribute("aria-label", text("gallery.favourite.of", { prompt: item.prompt }));
    favourite.addEventListener("click", () => this.mark(!this.item.favourite));
    img.addEventListener("error", () => this.#replace());
    img.src = thumbnailOf(item);
    this.isFavourite = item.favourite;
  }

  get isChosen() {
    return this.#parts.choose.checked;
  }

  set isChosen(is) {
    this.#parts.choose.checked = is;
  }

  set isFavourite(is) {
    this.item.favourite = is;
    this.#parts.favourite.setAttribute("aria-pressed", is);
  }

  focus() {
    this.#parts.open.focus();
  }

  /** Mark the image as a favourite, or not. */
  async mark(isFavourite) {
    try {
      await mark(this.item.name, isFavourite);
      this.isFavourite = isFavourite;
    } catch (error) {
      if (error.status === 404) this.grid.gone(this);
      else this.grid.failed(error);
    }
  }

  /** Find out why there is no thumbnail: the image is gone, or its address has expired. */
  async #replace() {
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    try {
      Object.assign(this.item, await findImage(this.item.name));
      this.#parts.img.src = thumbnailOf(this.item);
    } catch (error) {
      if (error.status === 404) this.grid.gone(this);
      else this.grid.failed(error);
    }
  }
}

// Saved images as one ZIP file, which the browser holds in memory while it arrives.

import { text } from "../language/text.js";
import { zipOf } from "./saved_images.js";

const byId = (id) => document.getElementById(id);

export class ZipDownload {
  #buttons = [byId("gallery-zip"), byId("gallery-zip-all")];
  #view;

  /** Calls the `view`'s `chosen()`, which returns the items to download, `said(sentence)` and `failed(error)`. */
  constructor(view) {
    this.#view = view;
    const [some, all] = this.#buttons;
    some.addEventListener("click", () => this.#download(view.chosen().map((item) => item.name)));
    all.addEventListener("click", () => this.#download(null));
  }

  async #download(names) {
    for (const button of this.#buttons) button.disabled = true;
    this.#view.said(text("gallery.zip.packing"));
    try {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(await zipOf(names));
      link.download = "images.zip";
      link.click();
      URL.revokeObjectURL(link.href);
      this.#view.said("");
    } catch (error) {
      this.#view.failed(error);
    }
    for (const button of this.#buttons) button.disabled = false;
  }
}

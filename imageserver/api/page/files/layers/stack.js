// The layers of an image over each other: each is shown or not, and downloaded as a file of its own.

import { text } from "../language/text.js";

const byId = (id) => document.getElementById(id);

export class LayerStack {
  #dialog = byId("layers");
  #area = byId("layers-area");
  #list = byId("layers-list");

  constructor() {
    byId("layers-close").addEventListener("click", () => this.#dialog.close());
    addEventListener("hashchange", () => this.#dialog.close());
    this.#dialog.addEventListener("close", () => {
      for (const place of [this.#area, this.#list]) place.replaceChildren();
    });
  }

  /** Show layers by their addresses, the lowest first; null stands for one that is gone. */
  show(addresses, prompt) {
    byId("layers-prompt").textContent = prompt;
    for (const [index, address] of addresses.entries()) {
      if (address !== null) this.#add(address, text("layers.nth", { number: index + 1 }));
    }
    this.#dialog.showModal();
  }

  #add(address, name) {
    const image = Object.assign(document.createElement("img"), { src: address, alt: name });
    const row = byId("layer-row").content.firstElementChild.cloneNode(true);
    const [check, link] = [row.querySelector("input"), row.querySelector("a")];
    row.querySelector(".name").textContent = name;
    // Its file is gone, or its address has expired.
    image.addEventListener("error", () => {
      image.remove();
      row.remove();
    });
    check.addEventListener("change", () => { image.hidden = !check.checked; });
    // The server names the file.
    Object.assign(link, { href: address, download: "" });
    link.setAttribute("aria-label", text("layers.download.of", { name }));
    this.#area.append(image);
    // As they lie over each other: the uppermost at the top.
    this.#list.prepend(row);
  }
}

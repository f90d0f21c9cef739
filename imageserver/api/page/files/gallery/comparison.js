// Two images over each other, and a slider that uncovers one or the other.

import { localAddress } from "../jobs/image.js";

const byId = (id) => document.getElementById(id);

export class Comparison {
  #dialog = byId("comparison");
  #slider = byId("comparison-slider");
  #under = byId("comparison-under");
  #over = byId("comparison-over");

  constructor() {
    const area = byId("comparison-area");
    this.#slider.addEventListener("input", () => this.#show());
    byId("comparison-close").addEventListener("click", () => this.hide());
    for (const name of ["pointerdown", "pointermove"]) {
      area.addEventListener(name, (event) => {
        if (event.buttons !== 1) return;
        const box = area.getBoundingClientRect();
        this.#slider.value = (100 * (event.clientX - box.left)) / box.width;
        this.#show();
      });
    }
  }

  /** Compare two images; the first is left of the line. */
  show(first, second) {
    Object.assign(this.#under, { src: localAddress(first.url), alt: first.prompt });
    Object.assign(this.#over, { src: localAddress(second.url), alt: second.prompt });
    byId("comparison-area").style.aspectRatio = `${first.width} / ${first.height}`;
    this.#slider.value = 50;
    this.#show();
    this.#dialog.showModal();
    this.#slider.focus();
  }

  hide() {
    this.#dialog.close();
  }

  #show() {
    this.#over.style.clipPath = `inset(0 0 0 ${this.#slider.value}%)`;
    byId("comparison-line").style.left = `${this.#slider.value}%`;
  }
}

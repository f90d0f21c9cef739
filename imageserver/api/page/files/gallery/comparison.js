// Two images over each other, and a slider that uncovers one or the other.

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

  /** Compare two images, `{address, prompt, caption, width, height}`; the first is left of the line. Resolves when it is closed. */
  show(first, second) {
    Object.assign(this.#under, { src: first.address, alt: first.prompt });
    Object.assign(this.#over, { src: second.address, alt: second.prompt });
    byId("comparison-first").textContent = first.caption;
    byId("comparison-second").textContent = second.caption;
    byId("comparison-area").style.aspectRatio = `${first.width} / ${first.height}`;
    this.#slider.value = 50;
    this.#show();
    this.#dialog.showModal();
    this.#slider.focus();
    return new Promise((resolve) => { this.#dialog.addEventListener("close", resolve, { once: true }); });
  }

  hide() {
    this.#dialog.close();
  }

  #show() {
    this.#over.style.clipPath = `inset(0 0 0 ${this.#slider.value}%)`;
    byId("comparison-line").style.left = `${this.#slider.value}%`;
  }
}

// Zoom and move an image: wheel, pinch, double click and keys; a swipe leads to the next image.

const MAX_SCALE = 8;
const DOUBLE_CLICK_SCALE = 2.5;
const WHEEL_SPEED = 0.002;
const KEY_FACTOR = 1.5;
const MIN_SWIPE = 50;

export class Zoom {
  #scale = 1;
  #x = 0;
  #y = 0;
  #pointers = new Map();
  #swipe = null;

  /** `swiped(step)` is called with 1 for the next image and -1 for the last one. */
  constructor(area, image, swiped) {
    Object.assign(this, { area, image, swiped });
    area.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.by(Math.exp(-event.deltaY * WHEEL_SPEED), this.#place(event));
    }, { passive: false });
    area.addEventListener("dblclick", (event) => {
      if (this.#scale > 1) this.reset();
      else this.by(DOUBLE_CLICK_SCALE, this.#place(event));
    });
    area.addEventListener("pointerdown", (event) => this.#down(event));
    area.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) area.addEventListener(name, (event) => this.#up(event));
  }

  get scale() {
    return this.#scale;
  }

  /** Show the whole image. */
  reset() {
    this.#pointers.clear();
    this.#set(1, 0, 0);
  }

  /** Zoom by a factor around a place, in pixels from the middle. */
  by(factor, [x, y] = [0, 0]) {
    const scale = Math.min(MAX_SCALE, Math.max(1, this.#scale * factor));
    const share = scale / this.#scale;
    this.#set(scale, x - (x - this.#x) * share, y - (y - this.#y) * share);
  }

  /** Zoom by a key, and return whether it is one of those that do. */
  key(name) {
    if (name === "0") this.reset();
    else if (name === "+" || name === "=") this.by(KEY_FACTOR);
    else if (name === "-") this.by(1 / KEY_FACTOR);
    else return false;
    return true;
  }

  #set(scale, x, y) {
    const [left, top] = [this.area.clientWidth, this.area.clientHeight].map((side) => (side * (scale - 1)) / 2);
    this.#scale = scale;
    this.#x = Math.min(left, Math.max(-left, x));
    this.#y = Math.min(top, Math.max(-top, y));
    this.image.style.transform = scale === 1 ? "" : `translate(${this.#x}px, ${this.#y}px) scale(${scale})`;
    // Not zoomed, a finger scrolls to the details below.
    this.area.classList.toggle("zoomed", scale > 1);
  }

  #place({ clientX, clientY }) {
    const box = this.area.getBoundingClientRect();
    return [clientX - box.left - box.width / 2, clientY - box.top - box.height / 2];
  }

  #down(event) {
    if (event.button !== 0) return;
    this.area.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, this.#place(event));
    const isAlone = this.#pointers.size === 1 && this.#scale === 1 && event.pointerType !== "mouse";
    this.#swipe = isAlone ? this.#place(event) : null;
  }

  #move(event) {
    const last = this.#pointers.get(event.pointerId);
    if (last === undefined) return;
    const now = this.#place(event);
    this.#pointers.set(event.pointerId, now);
    if (this.#pointers.size === 2) {
      const other = [...this.#pointers].find(([id]) => id !== event.pointerId)[1];
      this.by(distance(now, other) / Math.max(1, distance(last, other)), other);
    } else if (this.#scale > 1) {
      this.#set(this.#scale, this.#x + now[0] - last[0], this.#y + now[1] - last[1]);
    }
  }

  #up(event) {
    const end = this.#pointers.get(event.pointerId);
    this.#pointers.delete(event.pointerId);
    if (end === undefined || this.#swipe === null || event.type === "pointercancel") return;
    const [across, down] = [end[0] - this.#swipe[0], end[1] - this.#swipe[1]];
    this.#swipe = null;
    if (Math.abs(across) > MIN_SWIPE && Math.abs(across) > Math.abs(down)) this.swiped(across < 0 ? 1 : -1);
  }
}

function distance([x, y], [otherX, otherY]) {
  return Math.hypot(x - otherX, y - otherY);
}

// The image with its mask on the screen: pen, finger and mouse become strokes, two fingers move and zoom.

import { extendEdges } from "../inputs/scaling.js";
import { apply } from "./operations.js";

const MIN_ZOOM = 0.1;
const MAX_ZOOM = 8;
const TINT = "#e0218a";
const OPACITY = 0.6;
// Of a pen that hardly touches.
const MIN_PRESSURE = 0.15;

export class MaskSurface {
  /** The mask: opaque where the image is regenerated. */
  mask = new OffscreenCanvas(1, 1);

  #shown;
  #area;
  #extended = new OffscreenCanvas(1, 1);
  #image = null;
  #operations = null;
  #margins = null;
  #zoom = 1;
  #pointers = new Map();
  #stroke = null;
  #brush;
  #changed;

  /** `brush()` returns `{size, erase}`, and `changed()` is called after a stroke. */
  constructor({ shown, area, brush, changed }) {
    this.#shown = shown;
    this.#area = area;
    this.#brush = brush;
    this.#changed = changed;
    shown.addEventListener("pointerdown", (event) => this.#press(event));
    // Or a browser takes a quick stroke for a swipe, and the tap after it, which would end the swipe, presses nothing.
    shown.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
    shown.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) shown.addEventListener(name, (event) => this.#lift(event));
  }

  /** The image with its margins, which continue its edges. */
  get extended() {
    return this.#extended;
  }

  /** Show an image, an ImageBitmap, with what was done to its mask. */
  open(image, operations, margins) {
    this.#image = image;
    this.#operations = operations;
    this.extend(margins);
    this.zoom(0);
  }

  /** Put margins around the image. */
  extend(margins) {
    const width = this.#image.width + margins.left + margins.right;
    const height = this.#image.height + margins.top + margins.bottom;
    this.#margins = margins;
    for (const canvas of [this.#shown, this.#extended, this.mask]) Object.assign(canvas, { width, height });
    const context = this.#extended.getContext("2d");
    context.drawImage(this.#image, margins.left, margins.top);
    extendEdges(context, margins);
    this.render();
    this.#resize();
  }

  /** Show the mask as all operations make it. */
  render() {
    this.#operations.render(this.mask.getContext("2d", { willReadFrequently: true }), this.#margins, this.#image);
    this.#show();
  }

  /** Zoom by a factor; 0 fits the image into its area. */
  zoom(factor) {
    // With the handles around it.
    const margin = 2 * parseFloat(getComputedStyle(this.#shown.parentElement).marginLeft);
    const [across, down] = [this.#area.clientWidth, this.#area.clientHeight].map((side) => Math.max(1, side - margin));
    const whole = Math.min(across / this.#shown.width, down / this.#shown.height, 1);
    this.#zoom = Math.min(MAX_ZOOM, Math.max(Math.min(MIN_ZOOM, whole), factor ? this.#zoom * factor : whole));
    this.#resize();
  }

  /** Return how many pixels of the image a distance on the screen is. */
  pixels(distance) {
    return distance / this.#zoom;
  }

  #resize() {
    this.#shown.style.width = `${this.#shown.width * this.#zoom}px`;
  }

  #show() {
    const context = this.#shown.getContext("2d");
    const { width, height } = this.#shown;
    const tint = new OffscreenCanvas(width, height);
    const tinting = tint.getContext("2d");
    tinting.fillStyle = TINT;
    tinting.fillRect(0, 0, width, height);
    tinting.globalCompositeOperation = "destination-in";
    tinting.drawImage(this.mask, 0, 0);
    context.globalAlpha = 1;
    context.clearRect(0, 0, width, height);
    context.drawImage(this.#extended, 0, 0);
    context.globalAlpha = OPACITY;
    context.drawImage(tint, 0, 0);
  }

  #press(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.#shown.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (this.#pointers.size > 1) {
      // The second finger: what the first one has begun was no stroke.
      if (this.#stroke) this.render();
      this.#stroke = null;
      return;
    }
    this.#stroke = { kind: "stroke", erase: this.#brush().erase, points: [] };
    this.#continue([event]);
  }

  #move(event) {
    if (!this.#pointers.has(event.pointerId)) return;
    if (this.#pointers.size > 1) this.#pinch(event);
    else if (this.#stroke) this.#continue(partsOf(event));
    this.#pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  }

  #lift(event) {
    this.#pointers.delete(event.pointerId);
    if (!this.#stroke) return;
    this.#operations.add(this.#stroke);
    this.#stroke = null;
    this.render();
    this.#changed();
  }

  /** Lengthen the stroke by some positions, and show them together: to show each makes a quick finger wait. */
  #continue(positions) {
    for (const each of positions) this.#lengthen(each);
    this.#show();
  }

  #lengthen({ clientX, clientY, pointerType, pressure }) {
    const { left, top, width } = this.#shown.getBoundingClientRect();
    const scale = this.#shown.width / width;
    const pressed = pointerType === "pen" ? Math.max(MIN_PRESSURE, pressure) : 1;
    const points = this.#stroke.points;
    points.push({
      x: (clientX - left) * scale - this.#margins.left,
      y: (clientY - top) * scale - this.#margins.top,
      radius: (pressed * this.#brush().size) / 2,
    });
    const context = this.mask.getContext("2d", { willReadFrequently: true });
    apply(context, { ...this.#stroke, points: points.slice(-2) }, this.#margins);
  }

  #pinch({ pointerId, clientX, clientY }) {
    const other = [...this.#pointers].find(([id]) => id !== pointerId)[1];
    const before = this.#pointers.get(pointerId);
    const distance = (point) => Math.hypot(point.x - other.x, point.y - other.y);
    this.zoom(distance({ x: clientX, y: clientY }) / Math.max(1, distance(before)));
    this.#area.scrollBy(before.x - clientX, before.y - clientY);
  }
}

/** Return all positions that a browser has put into one event. */
function partsOf(event) {
  const parts = event.getCoalescedEvents?.() ?? [];
  return parts.length ? parts : [event];
}

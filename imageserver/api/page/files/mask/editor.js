// The mask editor: a dialog in which a person marks what is regenerated, and extends the image.

import { asMask } from "./feathering.js";
import { Frame } from "./frame.js";
import { MaskOperations } from "./operations.js";
import { MaskSurface } from "./surface.js";

const NO_MARGINS = { left: 0, top: 0, right: 0, bottom: 0 };
const ZOOM_STEP = 1.25;
const BRUSH_STEP = 1.2;

const byId = (id) => document.getElementById(id);

export class MaskEditor {
  #dialog = byId("mask-editor");
  #size = byId("mask-size");
  #frame = new Frame({ changed: () => this.#extend(), pixels: (distance) => this.#surface.pixels(distance) });
  #surface = new MaskSurface({
    shown: byId("mask-shown"),
    area: byId("mask-area"),
    brush: () => ({ size: this.#size.valueAsNumber, erase: byId("mask-erase").checked }),
    changed: () => this.#follow(),
  });
  #operations = new MaskOperations();
  #file = null;
  #image = null;
  #done;

  /** `done(making)` is called with a promise of `{image, mask}`, two Blobs. */
  constructor(done) {
    this.#done = done;
    const actions = {
      undo: () => this.#operations.undo(),
      redo: () => this.#operations.redo(),
      invert: () => this.#operations.add({ kind: "invert" }),
      clear: () => this.#operations.add({ kind: "clear" }),
      rectangle: () => this.#operations.add(this.#rectangle()),
    };
    for (const [name, action] of Object.entries(actions)) {
      byId(`mask-${name}`).addEventListener("click", () => this.#change(action));
    }
    byId("mask-closer").addEventListener("click", () => this.#surface.zoom(ZOOM_STEP));
    byId("mask-farther").addEventListener("click", () => this.#surface.zoom(1 / ZOOM_STEP));
    byId("mask-whole").addEventListener("click", () => this.#surface.zoom(0));
    byId("mask-cancel").addEventListener("click", () => this.#dialog.close());
    byId("mask-use").addEventListener("click", () => this.#use());
    this.#dialog.addEventListener("keydown", (event) => this.#type(event));
  }

  /** Edit the mask of an image file; one that was edited last keeps its mask. */
  async open(file) {
    const image = await createImageBitmap(file, { imageOrientation: "from-image" });
    const isSame = this.#file === file;
    this.#file = file;
    this.#image = image;
    if (!isSame) this.#operations = new MaskOperations();
    const longest = Math.max(image.width, image.height);
    this.#frame.open(isSame ? this.#frame.margins : NO_MARGINS, longest);
    this.#size.max = longest;
    if (!isSame) this.#size.value = Math.round(longest / 12);
    for (const side of ["width", "height"]) byId(`mask-rectangle-${side}`).value = image[side];
    this.#dialog.showModal();
    this.#surface.open(image, this.#operations, this.#frame.margins);
    this.#follow();
  }

  /** Close at once: to make a large mask takes a while, in which a second press would do nothing. */
  #use() {
    const making = this.#make();
    this.#dialog.close();
    this.#done(making);
  }

  async #make() {
    await new Promise((resolve) => { setTimeout(resolve); });
    const radius = byId("mask-feather").valueAsNumber || 0;
    const { extended, mask } = this.#surface;
    const isExtended = Object.values(this.#frame.margins).some((width) => width > 0);
    const image = isExtended ? await extended.convertToBlob({ type: "image/png" }) : this.#file;
    return { image, mask: await asMask(mask, radius) };
  }

  #change(action) {
    action();
    this.#surface.render();
    this.#follow();
  }

  #extend() {
    this.#surface.extend(this.#frame.margins);
  }

  #follow() {
    byId("mask-undo").disabled = !this.#operations.canUndo;
    byId("mask-redo").disabled = !this.#operations.canRedo;
  }

  #rectangle() {
    const value = (name) => byId(`mask-rectangle-${name}`).valueAsNumber || 0;
    const [x, y, width, height] = ["left", "top", "width", "height"].map(value);
    return { kind: "rectangle", erase: byId("mask-erase").checked, x, y, width, height };
  }

  #type(event) {
    const key = event.key.toLowerCase();
    const isUndo = (event.ctrlKey || event.metaKey) && (key === "z" || key === "y");
    const keys = {
      b: () => { byId("mask-add").checked = true; },
      e: () => { byId("mask-erase").checked = true; },
      i: () => byId("mask-invert").click(),
      "[": () => { this.#size.value = this.#size.valueAsNumber / BRUSH_STEP; },
      "]": () => { this.#size.value = this.#size.valueAsNumber * BRUSH_STEP; },
      "+": () => this.#surface.zoom(ZOOM_STEP),
      "-": () => this.#surface.zoom(1 / ZOOM_STEP),
    };
    if (event.target.matches("[type=number]") || (!isUndo && (event.ctrlKey || event.metaKey || event.altKey))) return;
    const action = isUndo ? () => byId(key === "y" || event.shiftKey ? "mask-redo" : "mask-undo").click() : keys[key];
    if (!action) return;
    event.preventDefault();
    action();
  }
}

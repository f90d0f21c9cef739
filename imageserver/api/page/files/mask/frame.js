// The frame around an image, whose sides are dragged outwards to add margins; their widths can be typed as well.

const SIDES = ["left", "top", "right", "bottom"];

export class Frame {
  #fields = Object.fromEntries(SIDES.map((side) => [side, document.getElementById(`mask-${side}`)]));
  #maximum = 0;
  #changed;

  /** `changed()` is called with other margins, `pixels(distance)` returns how many of the image a distance is. */
  constructor({ changed, pixels }) {
    this.#changed = changed;
    for (const side of SIDES) {
      this.#fields[side].addEventListener("change", () => this.#set(side, this.#fields[side].valueAsNumber || 0));
      this.#listen(document.querySelector(`.mask-handle[data-side=${side}]`), side, pixels);
    }
  }

  /** The widths of the margins in pixels of the image. */
  get margins() {
    return Object.fromEntries(SIDES.map((side) => [side, this.#fields[side].valueAsNumber || 0]));
  }

  /** Show margins, none of which may be wider than `maximum`. */
  open(margins, maximum) {
    this.#maximum = maximum;
    for (const side of SIDES) Object.assign(this.#fields[side], { max: maximum, value: margins[side] });
  }

  #set(side, width) {
    this.#fields[side].value = Math.round(Math.min(this.#maximum, Math.max(0, width)));
    this.#changed();
  }

  #listen(handle, side, pixels) {
    const isAcross = side === "left" || side === "right";
    const outwards = side === "left" || side === "top" ? -1 : 1;
    let began = null;
    handle.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      handle.setPointerCapture(event.pointerId);
      began = { at: isAcross ? event.clientX : event.clientY, width: this.margins[side] };
    });
    handle.addEventListener("pointermove", (event) => {
      if (began === null) return;
      const moved = (isAcross ? event.clientX : event.clientY) - began.at;
      this.#set(side, began.width + outwards * pixels(moved));
    });
    for (const name of ["pointerup", "pointercancel"]) handle.addEventListener(name, () => { began = null; });
  }
}

// Sliders beside the fields for numbers: for the pointer, as the arrow keys change the number already.

/** Adds a slider to every number field that names its reach, as `data-slider="0 100"`. */
export class Sliders {
  #pairs;

  constructor(form) {
    this.#pairs = [...form.querySelectorAll("[data-slider]")].map(pair);
  }

  /** Show the numbers as they are now. */
  show() {
    for (const { number, slider } of this.#pairs) {
      const [low, high] = number.dataset.slider.split(" ").map(Number);
      slider.min = Math.max(low, number.min === "" ? low : number.min);
      slider.max = Math.min(high, number.max === "" ? high : number.max);
      slider.value = number.value;
    }
  }
}

function pair(number) {
  const slider = document.createElement("input");
  Object.assign(slider, { type: "range", tabIndex: -1, step: number.step || 1 });
  // Its number is the control for those who do not see it.
  slider.setAttribute("aria-hidden", "true");
  number.after(slider);
  for (const kind of ["input", "change"]) {
    slider.addEventListener(kind, (event) => {
      event.stopPropagation();
      number.value = slider.value;
      number.dispatchEvent(new Event(kind, { bubbles: true }));
    });
  }
  number.addEventListener("input", () => { slider.value = number.value; });
  return { number, slider };
}

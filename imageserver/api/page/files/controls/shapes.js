// The aspect ratios as shapes to choose from, instead of the list that holds the value.

/** Shows the options of a list as shapes; `sizeOf(value)` returns the width and height of one, or null. */
export class Shapes {
  #box = document.getElementById("shapes");
  #select;
  #sizeOf;

  constructor(select, sizeOf) {
    this.#select = select;
    this.#sizeOf = sizeOf;
    this.#box.addEventListener("input", ({ target }) => {
      select.value = target.value;
      select.dispatchEvent(new Event("change"));
    });
  }

  /** Show the list as it is now, with no choice where something else `overrides` it. */
  show(overrides) {
    const had = this.#box.contains(document.activeElement);
    this.#box.replaceChildren(...this.#distinct().map((option) => this.#shape(option, overrides)));
    if (had) this.#box.querySelector(":checked")?.focus();
  }

  /** Return the options without those that are another name of the same size, unless it is chosen. */
  #distinct() {
    const sizes = new Set();
    return [...this.#select.options].filter(({ value, selected }) => {
      const size = String(this.#sizeOf(value));
      const isKnown = value !== "" && sizes.has(size);
      if (value !== "") sizes.add(size);
      return selected || !isKnown;
    });
  }

  #shape({ value, text: label }, overrides) {
    const element = document.getElementById("shape").content.firstElementChild.cloneNode(true);
    const [name, size = ""] = label.split(" · ");
    const input = element.querySelector("input");
    Object.assign(input, { value, checked: value === this.#select.value && !overrides });
    element.querySelector(".name").textContent = name;
    element.querySelector(".size").textContent = size;
    const [width, height] = this.#sizeOf(value) ?? [1, 1];
    element.querySelector(".outline").style.aspectRatio = `${width} / ${height}`;
    element.querySelector(".outline").classList.toggle("tall", height > width);
    return element;
  }
}

// Prompts to click: what the model can generate.

import { text } from "../language/text.js";

const DEMO = "demo";
const NAMES = ["one", "two", "three"];

export class Examples {
  #list = document.getElementById("examples");

  /** `chosen(prompt)` is called when a person chooses one. */
  constructor(chosen) {
    this.#list.addEventListener("click", ({ target }) => {
      if (target.matches("button")) chosen(target.textContent);
    });
  }

  /** Show what fits the model, as `GET /info` describes it. */
  show({ model_name: name }) {
    const kind = name === DEMO ? "demo" : "model";
    this.#list.replaceChildren(...NAMES.map((each) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: text(`prompts.${kind}.${each}`) });
      return button;
    }));
  }
}

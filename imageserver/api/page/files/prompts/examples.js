// The first minute: what the model can generate, and which one would be better.

import { text } from "../language/text.js";

const DEMO = "demo";
const NAMES = ["one", "two", "three"];
const byId = (id) => document.getElementById(id);

export class Examples {
  #list = byId("examples");

  /** `chosen(prompt)` is called when a person chooses one. */
  constructor(chosen) {
    this.#list.addEventListener("click", ({ target }) => {
      if (target.matches("button")) chosen(target.textContent);
    });
  }

  /** Show what fits the model, as `GET /info` describes it. */
  show({ model_name: name, model_reason: reason }) {
    const kind = name === DEMO ? "demo" : "model";
    this.#list.replaceChildren(...NAMES.map((each) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: text(`prompts.${kind}.${each}`) });
      return button;
    }));
    byId("demo-says").hidden = name !== DEMO;
    byId("demo-reason").textContent = reason.replaceAll("`", "");
  }
}

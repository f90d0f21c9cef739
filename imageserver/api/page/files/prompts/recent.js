// The list of prompts that were sent before, to choose one again.

import { forgetPrompts, rememberPrompt, sentPrompts } from "../storage/history.js";

const byId = (id) => document.getElementById(id);

export class RecentPrompts {
  #box = byId("recent");
  #list = byId("recent-list");

  /** `chosen(prompt)` is called when a person chooses one. */
  constructor(chosen) {
    this.#box.addEventListener("toggle", () => this.#show());
    this.#box.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.#box.open) return;
      this.#box.open = false;
      this.#box.querySelector("summary").focus();
    });
    this.#list.addEventListener("click", ({ target }) => {
      const button = target.closest("button");
      if (button === null) return;
      this.#box.open = false;
      chosen(button.textContent);
    });
    byId("recent-forget").addEventListener("click", () => {
      forgetPrompts();
      this.#box.open = false;
      this.#hide();
    });
    this.#hide();
  }

  /** Remember a prompt that was sent. */
  add(prompt) {
    rememberPrompt(prompt);
    this.#hide();
  }

  #hide() {
    this.#box.hidden = sentPrompts().length === 0;
  }

  #show() {
    if (!this.#box.open) return;
    this.#list.replaceChildren(...sentPrompts().map((prompt) => {
      const [item, button] = ["li", "button"].map((name) => document.createElement(name));
      Object.assign(button, { type: "button", textContent: prompt, dir: "auto" });
      item.append(button);
      return item;
    }));
  }
}

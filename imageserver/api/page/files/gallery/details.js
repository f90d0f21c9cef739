// What is known about an image, and what can be done with its settings.

import { text } from "../language/text.js";
import { asCurl, asPython, rowsOf } from "./settings.js";

const byId = (id) => document.getElementById(id);

export class Details {
  #rows = byId("details-rows");
  #copy = byId("details-copy");
  #item = null;

  /** Calls `used(part, item)` with `all`, `prompt`, `seed` or `size`, and `said(sentence)`. */
  constructor({ used, said }) {
    this.said = said;
    this.isLocked = false;
    for (const button of document.querySelectorAll("#details-use button")) {
      button.addEventListener("click", () => used(button.value, this.#item));
    }
    byId("details-curl").addEventListener("click", () => this.#write(asCurl(this.#item, this.isLocked)));
    byId("details-python").addEventListener("click", () => this.#write(asPython(this.#item, this.isLocked)));
  }

  /** Show an image's settings; `hasSize` is whether the form can set its size. */
  show(item, hasSize) {
    this.#item = item;
    byId("details-prompt").textContent = item.prompt;
    byId("details-size").hidden = !hasSize;
    this.#copy.hidden = true;
    this.#rows.replaceChildren(...rowsOf(item).flatMap(([name, value]) => {
      const [term, description] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = name;
      description.textContent = value;
      description.dir = "auto";
      return [term, description];
    }));
  }

  async #write(content) {
    this.#copy.value = content;
    this.#copy.hidden = false;
    this.#copy.rows = Math.min(14, content.split("\n").length + 1);
    this.#copy.focus();
    this.#copy.select();
    this.said(text((await copied(content)) ? "gallery.copied" : "gallery.copy.yourself"));
  }
}

/** Copy a text that is selected, and return whether that worked. */
async function copied(content) {
  try {
    await navigator.clipboard.writeText(content);
    return true;
  } catch {
    // Over http a page has no clipboard.
    return document.execCommand("copy");
  }
}

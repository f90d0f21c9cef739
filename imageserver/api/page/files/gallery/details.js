// What is known about an image, and what can be done with its settings.

import { text } from "../language/text.js";
import { copyFrom, copyOnClick, shareImage } from "../shell/sharing.js";
import { asCurl, asPython } from "./commands.js";
import { rowsOf } from "./settings.js";

const byId = (id) => document.getElementById(id);

export class Details {
  #rows = byId("details-rows");
  #copy = byId("details-copy");
  #item = null;

  /** Calls `linked(item)`, `used(part, item)` with `all`, `prompt`, `seed` or `size`, and `said(sentence)`. */
  constructor({ linked, used, said }) {
    this.linked = linked;
    this.said = said;
    this.isLocked = false;
    for (const button of document.querySelectorAll("#details-use button")) {
      button.addEventListener("click", () => used(button.value, this.#item));
    }
    copyOnClick(byId("details-link"), this.#copy, said);
    byId("details-share").addEventListener("click", async () => said(await shareImage(this.#item, this.#copy)));
    byId("details-curl").addEventListener("click", () => this.#write(asCurl(this.#item, this.isLocked)));
    byId("details-python").addEventListener("click", () => this.#write(asPython(this.#item, this.isLocked)));
  }

  /** Show an image's settings. */
  show(item) {
    this.#item = item;
    byId("details-prompt").textContent = item.prompt;
    this.#copy.hidden = true;
    const link = this.linked(item);
    byId("details-link").hidden = link === null;
    byId("details-no-link").hidden = link !== null;
    byId("details-link").href = link ?? "";
    this.#rows.replaceChildren(...rowsOf(item).flatMap(([name, value, inRequest = ""]) => {
      const [term, description] = [document.createElement("dt"), document.createElement("dd")];
      Object.assign(term, { textContent: name, title: inRequest });
      description.textContent = value;
      description.dir = "auto";
      return [term, description];
    }));
  }

  async #write(content) {
    this.#copy.rows = Math.min(14, content.split("\n").length + 1);
    this.said(text((await copyFrom(this.#copy, content)) ? "gallery.copied" : "gallery.copy.yourself"));
  }
}

// Images that are dropped or pasted anywhere on the page, or chosen in the form: start from one, or take its settings.

import { text } from "../language/text.js";
import { Refusal } from "../shell/server.js";
import { settingsIn } from "./settings.js";

const byId = (id) => document.getElementById(id);

export class DroppedImages {
  #dialog = byId("image-choice");
  #found = null;
  #file = null;
  #to;

  /**
   * Wait for images.
   *
   * `to` has `info`, the answer of `GET /info`, null until there is one, `canStart`, whether the model starts from
   * images, and is told `startFrom(file)`, `useSettings(found)` with what `settingsIn` returns, and `refuse(refusal)`.
   */
  constructor(to) {
    this.#to = to;
    document.body.dataset.drop = text("inputs.drop");
    addEventListener("dragover", (event) => {
      const hasFiles = event.dataTransfer.types.includes("Files");
      if (hasFiles) event.preventDefault();
      document.body.classList.toggle("dragged-over", hasFiles);
    });
    for (const name of ["dragleave", "drop"]) addEventListener(name, () => document.body.classList.remove("dragged-over"));
    addEventListener("drop", (event) => this.#offerFiles(event, event.dataTransfer.files));
    addEventListener("paste", (event) => {
      // A text beside it, in a field for text, is what was meant.
      const isText = event.clipboardData.types.includes("text/plain") && event.target.matches("input, textarea");
      if (!isText) this.#offerFiles(event, event.clipboardData.files);
    });
    byId("image").addEventListener("change", (event) => this.#offerFiles(event, event.target.files));
    byId("choice-start").addEventListener("click", () => this.#choose(() => this.#to.startFrom(this.#file)));
    byId("choice-settings").addEventListener("click", () => this.#choose(() => this.#to.useSettings(this.#found)));
    byId("choice-cancel").addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("close", () => {
      URL.revokeObjectURL(byId("choice-shown").src);
      byId("image").value = "";
    });
  }

  #offerFiles(event, files) {
    if (files.length === 0 || this.#dialog.open) return;
    event.preventDefault();
    this.offer(files[0]);
  }

  /** Start from a file or take its settings, as a person chooses where it has some. */
  async offer(file) {
    const { info, canStart } = this.#to;
    if (info === null) return;
    if (!file.type.startsWith("image/")) {
      this.#to.refuse(new Refusal(text("inputs.not_an_image", { name: file.name })));
      return;
    }
    try {
      this.#found = await settingsIn(file, info);
    } catch (error) {
      // Without its settings it is an image all the same; a missing key is asked for.
      this.#found = null;
      if (error.status === 401) this.#to.refuse(error);
      else if (!(error instanceof Refusal)) throw error;
    }
    this.#file = file;
    if (this.#found !== null) this.#ask(canStart);
    else if (canStart) this.#to.startFrom(file);
    else this.#to.refuse(new Refusal(text("inputs.no_use", { model: info.model_name })));
  }

  #ask(canStart) {
    byId("choice-shown").src = URL.createObjectURL(this.#file);
    byId("choice-prompt").textContent = this.#found.written;
    byId("choice-start").hidden = !canStart;
    this.#dialog.showModal();
  }

  #choose(action) {
    this.#dialog.close();
    action();
  }
}

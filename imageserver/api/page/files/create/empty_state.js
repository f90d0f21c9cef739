// What stands in the place of the cards before there are any: prompts to try, the last images, and a better model.

import { Examples } from "../prompts/examples.js";
import { describeDemo } from "./demo_model.js";
import { LatestImages } from "./latest_images.js";

const byId = (id) => document.getElementById(id);

export class EmptyState {
  #box = byId("empty");
  #examples;
  #latest;

  /** `chosen(prompt)` is called when a person chooses an example, `failed(error)` when the last images cannot be listed. */
  constructor({ chosen, failed }) {
    this.#examples = new Examples(chosen);
    this.#latest = new LatestImages(failed);
  }

  /** Show what fits the server, from the answer of page/start.json. */
  describe({ info, recommended }) {
    this.#examples.show(info);
    describeDemo(info, recommended);
    byId("first").hidden = false;
    this.#latest.isServed = info.gallery;
    this.#refresh();
  }

  /** Be there while there are no cards. */
  follow() {
    const isEmpty = byId("results").childElementCount === 0;
    if (isEmpty === !this.#box.hidden) return;
    this.#box.hidden = !isEmpty;
    // It stays within reach: beside the models to choose and to download.
    if (isEmpty) byId("first").append(byId("demo-says"));
    else byId("downloads-list").before(byId("demo-says"));
    this.#refresh();
  }

  #refresh() {
    if (!this.#box.hidden) this.#latest.refresh();
  }
}

// How many layers the next image is separated into, where the model does that.

import { limit, numberOf, schemaOf } from "../form/fields.js";

const byId = (id) => document.getElementById(id);

export class LayerCount {
  #input = byId("layer-count");
  #default = 0;

  /** Set limits from the schemas of the fields of a request. */
  describe(request) {
    limit(this.#input, schemaOf(request, "layers"));
  }

  /** Follow the model, as `GET /info` describes it. */
  setModel({ layers }) {
    this.#default = layers;
    this.#input.placeholder = layers;
    byId("layer-count-field").hidden = layers === 0;
  }

  /** Return the fields of a request, which says how many where the model does that; throws Refusal. */
  read() {
    return this.#default ? { layers: numberOf(this.#input) ?? this.#default } : {};
  }

  /** Write the fields of a request. */
  fill({ layers = "" }) {
    this.#input.value = layers;
  }
}

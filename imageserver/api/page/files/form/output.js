// The file format of the images, and how exact those are that lose something.

import { limit, numberOf, offer, schemaOf } from "./fields.js";

const EXACT = "png";

const byId = (id) => document.getElementById(id);

export class OutputChoice {
  #format = byId("output_format");
  #compression = byId("output_compression");

  constructor() {
    this.#format.addEventListener("change", () => this.show());
  }

  /** Set choices and limits from the schemas of the fields of a request. */
  describe(request) {
    offer(this.#format, schemaOf(request, "output_format").enum);
    limit(this.#compression, schemaOf(request, "output_compression"));
    this.show();
  }

  /** Return the fields of a request; throws Refusal. */
  read() {
    const format = this.#format.value;
    if (format === EXACT) return {};
    const quality = numberOf(this.#compression);
    return { output_format: format, ...(quality === null ? {} : { output_compression: quality }) };
  }

  /** Write the fields of a request. */
  fill({ output_format: format = EXACT, output_compression: quality = "" }) {
    this.#format.value = format;
    this.#compression.value = quality;
    this.show();
  }

  /** Show what fits the format. */
  show() {
    byId("compression-field").hidden = this.#format.value === EXACT;
  }
}

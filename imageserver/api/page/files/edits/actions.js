// What a finished image can become: changed by an instruction, varied, or enlarged; offered where the model can.

import { text } from "../language/text.js";
import { edited, enlarged, varied } from "./requests.js";

export class ImageActions {
  #to;
  #shown = [];
  #kinds = [];
  #model = "";
  #isKept = false;

  /**
   * `to.start(request)` generates, `to.compare(before, after)` shows two images, `to.layers(addresses, prompt)` several
   * over each other, `to.open(address)` returns an image of the server as a Blob, and `to.fail(error)` is called where it
   * does not.
   */
  constructor(to) {
    this.#to = to;
  }

  /** Follow the model, as `GET /info` describes it. */
  setModel({ model_name: name, draws_from: kinds, gallery }) {
    this.#model = name;
    this.#isKept = gallery;
    this.#kinds = kinds;
    for (const each of this.#shown) this.#offer(each);
  }

  /** Add the actions to an image of a card: `{request, seed, address, layers}`, with the addresses of all its layers. */
  add(place, image) {
    const element = document.getElementById("image-actions").content.firstElementChild.cloneNode(true);
    const find = (part) => element.querySelector(part);
    find(".edit").addEventListener("submit", (event) => {
      event.preventDefault();
      const prompt = find(".instruction").value.trim();
      if (prompt) this.#startFrom(image, (file) => edited(image.request, prompt, file));
    });
    find(".vary button").addEventListener("click", () => {
      const options = { strength: Number(find(".strength").value), seed: find(".same-seed").checked ? image.seed : null };
      this.#startFrom(image, (file) => varied(image.request, options, file));
    });
    find(".enlarge").addEventListener("click", () => this.#to.start(enlarged(image.request, image.seed)));
    find(".layers").hidden = image.layers.length < 2;
    find(".layers").addEventListener("click", () => this.#to.layers(image.layers, image.request.fields.prompt));
    find(".compare").addEventListener("click", () => this.#compare(image, place.closest("figure").querySelector("img")));
    find(".instruction").placeholder = text("edits.instruction.example");
    this.#shown.push({ element, image, place });
    this.#offer(this.#shown.at(-1));
    place.append(element);
  }

  /** Forget the actions of images that are gone. */
  forget(card) {
    this.#shown = this.#shown.filter(({ element }) => !card.contains(element));
  }

  #offer({ element, image, place }) {
    place.querySelector(".share").hidden = !this.#isKept;
    const canStart = this.#kinds.includes("image");
    element.querySelector(".edit").hidden = !this.#kinds.includes("edit");
    element.querySelector(".vary").hidden = !canStart;
    element.querySelector(".compare").hidden = !image.request.source?.image;
    element.querySelector(".enlarge").hidden = !canStart || !canEnlarge(image.request);
  }

  #compare({ request, address }, { naturalWidth: width, naturalHeight: height }) {
    const before = URL.createObjectURL(request.source.image);
    const closed = this.#to.compare(
      { address: before, prompt: text("edits.before"), caption: text("edits.before"), width, height },
      { address, prompt: request.fields.prompt, caption: text("edits.after"), width, height },
    );
    closed.then(() => URL.revokeObjectURL(before));
  }

  async #startFrom({ address }, requestFrom) {
    try {
      const request = requestFrom(await this.#to.open(address));
      // Offered because the form's model can: it need not be the one that made the image.
      request.fields.model = this.#model;
      this.#to.start(request);
    } catch (error) {
      this.#to.fail(error);
    }
  }
}

/** Return whether a request can be repeated larger: its image is here, and the server enlarges no masked ones. */
function canEnlarge({ fields, source, hasSource }) {
  const isHere = !hasSource || (source !== null && source.mask === null);
  return isHere && fields.quality === "exact" && fields.upscale === undefined;
}

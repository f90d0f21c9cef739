// One image of a card: its previews, then the image with what can be done with it.

import { text } from "../language/text.js";
import { copyOnClick, shareImage } from "../shell/sharing.js";

/** Shows the previews of an image, then the image. */
export class ImageSlot {
  constructor(prompt, index) {
    this.url = "";
    this.element = document.getElementById("result-image").content.firstElementChild.cloneNode(true);
    this.prompt = index ? text("jobs.image.nth", { prompt, index: index + 1 }) : prompt;
  }

  find(part) {
    return this.element.querySelector(part);
  }

  show(address, state, size = null) {
    const image = this.find("img");
    const last = this.url;
    this.url = image.src = address;
    // The last one stays until this one is decoded, or the image would flicker.
    image.decode().catch(() => {}).finally(() => URL.revokeObjectURL(last));
    image.alt = state === "preview" ? text("jobs.image.preview", { prompt: this.prompt }) : this.prompt;
    if (size) Object.assign(image, { width: size.width, height: size.height });
    this.element.dataset.state = state;
  }

  describe(seed, link) {
    const download = this.find(".download");
    this.find("a").href = download.href = this.url;
    this.find("a").setAttribute("aria-label", text("jobs.image.open"));
    // The server names the file.
    download.download = "";
    this.find(".seed").textContent = text("jobs.image.seed", { seed });
    const say = (sentence) => { this.find(".said").textContent = sentence; };
    const field = this.find(".address");
    this.find(".link").hidden = link === null;
    this.find(".no-link").hidden = link !== null;
    if (link) this.find(".link").href = link;
    copyOnClick(this.find(".link"), field, say);
    this.find(".share").addEventListener("click", async () => say(await shareImage(this.#saved, field)));
    this.find("figcaption").hidden = false;
    this.find("img").addEventListener("error", () => {
      this.find(".seed").textContent = text("jobs.image.gone", { seed });
    });
  }

  /** Its name in the gallery, and its prompt. */
  get #saved() {
    return { name: /images\/([^?]+)/.exec(this.url)[1], prompt: this.prompt };
  }

  release() {
    URL.revokeObjectURL(this.url);
  }
}

/** Return an image's address at this page's server, by whatever name the server knows itself. */
export function localAddress(address) {
  const { pathname, searchParams } = new URL(address);
  // From this server, also where a store would hand it out: the page shows nothing of another host.
  searchParams.set("redirect", "0");
  return `images/${pathname.split("/").pop()}?${searchParams}`;
}

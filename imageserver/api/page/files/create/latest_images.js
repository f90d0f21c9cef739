// The last images of the gallery, each a link to it there.

import { text } from "../language/text.js";
import { listImages, thumbnailOf } from "../gallery/saved_images.js";

const COUNT = 6;

const byId = (id) => document.getElementById(id);

export class LatestImages {
  #box = byId("latest");
  #list = byId("latest-list");
  #failed;

  /** Whether the server has a gallery. */
  isServed = false;

  /** `failed(error)` is called when they cannot be listed. */
  constructor(failed) {
    this.#failed = failed;
  }

  /** Show what the last ones are now. */
  async refresh() {
    try {
      const { data } = this.isServed ? await listImages({ limit: COUNT }) : { data: [] };
      this.#list.replaceChildren(...data.map(linkTo));
      this.#box.hidden = data.length === 0;
    } catch (error) {
      this.#failed(error);
    }
  }
}

function linkTo(item) {
  const [element, link, image] = ["li", "a", "img"].map((name) => document.createElement(name));
  link.href = `#gallery/${item.name}`;
  link.setAttribute("aria-label", item.prompt || text("latest.image"));
  // Deleted by somebody meanwhile.
  image.addEventListener("error", () => element.remove());
  Object.assign(image, { alt: "", width: 320, height: 320, src: thumbnailOf(item) });
  link.append(image);
  element.append(link);
  return element;
}

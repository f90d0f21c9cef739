// The layers of a saved image, as far as they are there.

import { findImage } from "../gallery/saved_images.js";
import { localAddress } from "../jobs/image.js";
import { layerNames } from "./names.js";

/** Return the addresses of all layers beside a saved one, null for those that are gone; throws Refusal. */
export function savedLayers(item) {
  return Promise.all(layerNames(item).map(async (name) => {
    try {
      return localAddress((await findImage(name)).url);
    } catch (error) {
      if (error.status === 404) return null;
      throw error;
    }
  }));
}

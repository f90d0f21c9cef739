// The saved files that are the layers of one image.

const NAME = /^(.*-req\d+-)(\d+)(\.\w+)$/;

/** Return the names of all layers of the image that a saved file, an item of the gallery, is one layer of; else []. */
export function layerNames({ name, settings: { layers = 0 } }) {
  const found = NAME.exec(name);
  if (found === null || layers < 2) return [];
  const [, start, index, end] = found;
  const first = index - (index % layers);
  return Array.from({ length: layers }, (_, number) => `${start}${first + number}${end}`);
}

/** Return which of a request's files are the layers of the image that one of them, by its index, is a layer of. */
export function layersAt(files, index, { layers = 1 }) {
  const first = index - (index % layers);
  return files.slice(first, first + layers);
}

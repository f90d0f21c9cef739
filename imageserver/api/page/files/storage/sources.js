// The images that requests and forms start from, in the browser's database: its other stores hold texts alone.

const NAME = "qwen-image-server sources";
// All of them together; of more, the oldest are dropped.
const MAX_BYTES = 256 * 2 ** 20;

/** Keep what a request or a form starts from, under a name. */
export function keepSource(id, source) {
  return ask("readwrite", (store) => {
    const asked = store.put({ ...source, at: Date.now() }, id);
    dropOldest(store, id);
    return asked;
  });
}

/** Return what a request or a form starts from, or null where that is not kept. */
export function recallSource(id) {
  return ask("readonly", (store) => store.get(id));
}

/** Drop what is kept under a name, and under all that begin with it. */
export function dropSource(id) {
  return ask("readwrite", (store) => store.delete(IDBKeyRange.bound(id, `${id}~`)));
}

/** Drop the oldest of what is too much; `newest` was kept just now, perhaps in the same millisecond as another. */
function dropOldest(store, newest) {
  const kept = [];
  store.openCursor().onsuccess = ({ target: { result: cursor } }) => {
    if (cursor) {
      const { at = 0, image, mask, more, guide } = cursor.value;
      const files = [image, mask, ...more, guide?.image].filter(Boolean);
      kept.push({ id: cursor.key, at: cursor.key === newest ? Infinity : at, bytes: files.reduce((sum, { size }) => sum + size, 0) });
      cursor.continue();
      return;
    }
    let left = MAX_BYTES;
    for (const { id, bytes } of kept.sort((one, other) => other.at - one.at)) {
      left -= bytes;
      if (left < 0) store.delete(id);
    }
  };
}

/** Return the answer of the database, null where the browser has none. */
async function ask(mode, question) {
  try {
    const opening = indexedDB.open(NAME);
    opening.onupgradeneeded = () => opening.result.createObjectStore(NAME);
    const database = await resultOf(opening);
    const asked = question(database.transaction(NAME, mode).objectStore(NAME));
    database.close();
    return (await resultOf(asked)) ?? null;
  } catch {
    return null;
  }
}

function resultOf(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = reject;
  });
}

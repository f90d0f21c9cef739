// The images that remembered requests start from, in the browser's database: its other stores hold texts alone.

const NAME = "qwen-image-server sources";

/** Keep what a request starts from. */
export function keepSource(id, source) {
  return ask("readwrite", (store) => store.put(source, id));
}

/** Return what a request starts from, or null where that is not kept. */
export function recallSource(id) {
  return ask("readonly", (store) => store.get(id));
}

export function dropSource(id) {
  return ask("readwrite", (store) => store.delete(id));
}

/** Return the answer of the database, null where the browser has none. */
function ask(mode, question) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(NAME);
    opening.onupgradeneeded = () => opening.result.createObjectStore(NAME);
    opening.onerror = reject;
    opening.onsuccess = () => {
      const database = opening.result;
      const asked = question(database.transaction(NAME, mode).objectStore(NAME));
      asked.onsuccess = () => resolve(asked.result ?? null);
      asked.onerror = reject;
      database.close();
    };
  }).catch(() => null);
}

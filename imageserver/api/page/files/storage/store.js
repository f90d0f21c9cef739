// The browser's two stores of JSON, of this tab and of all; a browser that has none forgets with the page.

const PREFIX = "qwen-image-server ";

/** Return what a store (`localStorage` or `sessionStorage`, by name) holds under a name, or null. */
export function read(store, name) {
  return attempt(() => JSON.parse(window[store].getItem(PREFIX + name))) ?? null;
}

export function write(store, name, value) {
  attempt(() => window[store].setItem(PREFIX + name, JSON.stringify(value)));
}

export function erase(store, name) {
  attempt(() => window[store].removeItem(PREFIX + name));
}

/** Return the names in a store that begin so. */
export function namesIn(store, start) {
  const names = attempt(() => Object.keys(window[store])) ?? [];
  return names.filter((name) => name.startsWith(PREFIX + start)).map((name) => name.slice(PREFIX.length));
}

/** Call `changed(name)` whenever another tab changes a value in the store that all tabs share. */
export function watchStore(changed) {
  addEventListener("storage", ({ key }) => {
    if (key?.startsWith(PREFIX)) changed(key.slice(PREFIX.length));
  });
}

function attempt(action) {
  try {
    return action();
  } catch {
    // No store, or no room left in it.
    return undefined;
  }
}

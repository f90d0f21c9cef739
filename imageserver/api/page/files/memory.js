// What the browser remembers: the requests of all tabs, the form of this tab, and the last form that was sent.

const PREFIX = "qwen-image-server";
const TASK = `${PREFIX} task `;
const MAX_TASKS = 100;

/** Remember a request by the id of its task; the oldest of too many are forgotten. */
export function remember(task) {
  write(localStorage, TASK + task.id, task);
  for (const { id } of remembered().slice(0, -MAX_TASKS)) forget(id);
}

export function forget(id) {
  attempt(() => localStorage.removeItem(TASK + id));
}

/** Return the remembered requests, the oldest first. */
export function remembered() {
  const names = attempt(() => Object.keys(localStorage)) ?? [];
  const tasks = names.filter((name) => name.startsWith(TASK)).map((name) => read(localStorage, name));
  return tasks.filter(Boolean).sort((one, other) => one.at - other.at);
}

/** Call `changed(id)` whenever another tab remembers or forgets a request. */
export function watch(changed) {
  addEventListener("storage", ({ key }) => {
    if (key?.startsWith(TASK)) changed(key.slice(TASK.length));
  });
}

/** Keep the form of this tab, and with `sent` that of the next tab too. */
export function keepForm(form, { sent = false } = {}) {
  write(sessionStorage, `${PREFIX} form`, form);
  if (sent) write(localStorage, `${PREFIX} form`, form);
}

/** Return the form of this tab, or else the last one that was sent from any. */
export function keptForm() {
  return read(sessionStorage, `${PREFIX} form`) ?? read(localStorage, `${PREFIX} form`);
}

/** Return whether this tab sees settings in its address for the first time: a reload does not bring them back. */
export function isNewLink(link) {
  const isNew = read(sessionStorage, `${PREFIX} link`) !== link;
  write(sessionStorage, `${PREFIX} link`, link);
  return isNew;
}

function read(storage, name) {
  return attempt(() => JSON.parse(storage.getItem(name))) ?? null;
}

function write(storage, name, value) {
  attempt(() => storage.setItem(name, JSON.stringify(value)));
}

function attempt(action) {
  try {
    return action();
  } catch {
    // A browser that stores nothing, or has no room left, forgets with the page.
    return undefined;
  }
}

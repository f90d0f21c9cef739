// The page: the server's state, its key, the form, and a card for every request.

import { Card } from "./card.js";
import { RequestForm } from "./form.js";
import { linked } from "./links.js";
import { isNewLink, keepForm, keptForm } from "./memory.js";
import { ModelChoice } from "./models.js";
import { Refusal, UNREACHABLE, ask, keep, open } from "./server.js";
import { TaskList } from "./tasks.js";

// How often the page polls the server, while something happens and while nothing does.
const BUSY_SECONDS = 1.5;
const IDLE_SECONDS = 6;

const byId = (id) => document.getElementById(id);
const form = new RequestForm({ generated: () => generate(), changed: (kept) => keepForm(kept) });
const models = new ModelChoice((name) => choose(name));
let schemas = null;
let model = null;
let timer = null;
// Why the server requires a key, until one is given.
let locked = null;
let isFilled = false;
let linkedModel = null;

const page = {
  announce: (sentence) => { byId("announcement").textContent = sentence; },
  cancel: (card) => tasks.cancel(card),
  remove: (card) => {
    tasks.remove(card);
    drop(card);
  },
  again: (card) => {
    page.remove(card);
    if (card.request.hasSource && card.request.source === null) form.fill(card.request, card.request.seed ?? "");
    else start(card.request);
  },
  withSeed: (request, seed) => form.fill(request, seed),
  startFrom: async (address) => {
    try {
      form.startFrom(await (await open(address)).blob());
      byId("image").focus();
    } catch (error) {
      showFailure(error);
    }
  },
  refused: (card, refusal) => {
    if (refusal.status === 401) showFailure(refusal);
    if (!form.has(refusal.param)) {
      card.fail(refusal);
      return;
    }
    drop(card);
    form.refuse(refusal);
  },
};

const tasks = new TaskList({
  shown: (request) => {
    const card = new Card(request, page);
    byId("empty").hidden = true;
    byId("results").prepend(card.element);
    return card;
  },
  gone: (card) => drop(card),
  failed: (error) => showFailure(error),
});

function generate() {
  form.accept();
  if (locked !== null) {
    askForKey(locked);
    byId("key-input").focus();
    return;
  }
  try {
    start(form.read());
    keepForm(form.kept(), { sent: true });
  } catch (refusal) {
    form.refuse(refusal);
  }
}

function start(request) {
  tasks.start(request);
  // In one column the results stand below the form: scroll to the new card.
  const block = matchMedia("(min-width: 62rem)").matches ? "nearest" : "start";
  byId("results").firstElementChild.scrollIntoView({ block });
  pollAfter(BUSY_SECONDS);
}

function drop(card) {
  const hadFocus = card.element.contains(document.activeElement);
  card.leave();
  byId("empty").hidden = byId("results").childElementCount > 0;
  if (hadFocus) (byId("results").firstElementChild ?? byId("results-title")).focus();
}

/** Load another default model; the form follows it. */
async function choose(name) {
  form.accept();
  models.lock();
  pollAfter(0);
  let loaded = false;
  try {
    await ask("v1/models/load", { model: name });
    loaded = true;
  } catch (error) {
    if (error instanceof Refusal && error.status !== 401) form.refuse(error);
    else showFailure(error);
  }
  models.unlock(loaded);
  pollAfter(0);
}

async function poll() {
  clearTimeout(timer);
  let busy = true;
  try {
    const health = await ask("health");
    busy = health.status !== "healthy" || tasks.busy || models.loading !== "";
    show(health.status, sentenceOf(health), health.load_fraction);
    if (locked === null) await updateForm(health);
    if (locked === null) await tasks.refresh();
  } catch (error) {
    showFailure(error);
  }
  pollAfter(busy ? BUSY_SECONDS : IDLE_SECONDS);
}

/** Show that the server refused a request, or does not answer. */
function showFailure(error) {
  if (error.status === 401) askForKey(error.message);
  else if (error.code === UNREACHABLE) showUnreachable();
  else if (!(error instanceof Refusal)) throw error;
}

function pollAfter(delay) {
  clearTimeout(timer);
  timer = setTimeout(poll, 1000 * delay);
}

/** Fill the form with the settings in the address, or else with those that the browser has kept. */
function fillForm() {
  isFilled = true;
  const kept = keptForm();
  if (!useLink() && kept !== null) form.restore(kept);
}

/** Write the settings in the address into the form, and return whether there are new ones. */
function useLink() {
  const found = linked(location.hash);
  if (found === null || !isNewLink(location.hash)) return false;
  form.fill(found.request, found.seed);
  linkedModel = found.model;
  warnOfModel();
  return true;
}

/** Say that a link was made with another model than the one that would generate now. */
function warnOfModel() {
  if (!linkedModel || model === null) return;
  if (linkedModel !== model) form.refuse(new Refusal(`This link was made with ${linkedModel}; ${model} would be used.`));
  linkedModel = null;
}

/** Fill the form with what depends on the model: once for each default model, and again after a restart. */
async function updateForm(health) {
  if (schemas === null) {
    schemas = (await ask("openapi.json")).components.schemas;
    form.describe(schemas.GenerateBody);
    if (!isFilled) fillForm();
  }
  const { model_id: name, defaults } = health.generator_info;
  if (name === null || name === model) return;
  form.setDefaults(defaults);
  form.setModel(await ask("info"));
  models.offer((await ask("v1/models")).data);
  form.setLoras((await ask("v1/loras")).data, schemas.LoraChoice);
  model = name;
  warnOfModel();
}

function showUnreachable() {
  schemas = model = null;
  const hope = tasks.busy ? "What you asked for goes on there, or when it is back." : "Trying again.";
  show("unreachable", `The server does not answer. ${hope}`);
}

function sentenceOf(health) {
  const { status, reason, device, queue_length: waiting, queue_wait: wait, active_tasks: active } = health;
  if (status === "loading") return `The model is loading. ${reason}`;
  if (status === "draining") return "The server is stopping and accepts no more requests.";
  if (status === "degraded") return `The server has a problem. ${reason}`;
  if (health.engine_pid === null) return reason;
  if (models.loading) return `${models.loading} is loading. ${health.reason}`;
  const idle = active + waiting === 0;
  const work = idle ? "idle" : `${active} running, ${waiting} waiting, about ${Math.ceil(wait)} s in total`;
  const where = health.devices.length > 1 ? `${health.devices.length} devices` : device;
  const absent = health.devices.filter((one) => one.status !== "healthy").map((one) => `${one.name}: ${one.reason}`);
  return [`${health.generator_info.model_id} on ${where}: ${work}`, ...absent].join(". ");
}

function show(state, sentence, fraction = null) {
  const box = byId("state");
  if (box.dataset.state !== state) page.announce(sentence);
  box.dataset.state = state;
  byId("state-text").textContent = sentence;
  byId("load").hidden = state !== "loading" || fraction === null;
  if (fraction !== null) byId("load").value = fraction;
}

function askForKey(sentence) {
  locked = sentence;
  byId("key").hidden = false;
  byId("key-error").textContent = sentence;
}

byId("key").addEventListener("submit", (event) => {
  event.preventDefault();
  keep(byId("key-input").value.trim());
  byId("key-input").value = "";
  byId("key").hidden = true;
  byId("prompt").focus();
  locked = model = null;
  poll();
});
addEventListener("hashchange", () => { if (isFilled) useLink(); });
tasks.restore();
poll();

// The page: the server's state, its key, the form, and a card for every request.

import { Card } from "./card.js";
import { RequestForm } from "./form.js";
import { ModelChoice } from "./models.js";
import { Refusal, UNREACHABLE, ask, keep } from "./server.js";

// How often the page polls the server, while something happens and while nothing does.
const BUSY_SECONDS = 1.5;
const IDLE_SECONDS = 6;

const byId = (id) => document.getElementById(id);
const form = new RequestForm(() => generate());
const models = new ModelChoice((name) => choose(name));
const cards = new Set();
let schemas = null;
let model = null;
let timer = null;
// Why the server requires a key, until one is given.
let locked = null;

const page = {
  announce: (sentence) => { byId("announcement").textContent = sentence; },
  again: (card) => {
    card.remove();
    start(card.request);
  },
  withSeed: (request, seed) => form.fill(request, seed),
  startFrom: (blob) => {
    form.startFrom(blob);
    byId("image").focus();
  },
  refused: (card, refusal) => {
    if (!form.has(refusal.param)) {
      card.fail(refusal);
      return;
    }
    card.remove();
    form.refuse(refusal);
  },
  removed: (card) => {
    cards.delete(card);
    byId("empty").hidden = cards.size > 0;
    (byId("results").firstElementChild ?? byId("results-title")).focus();
  },
  // A WebSocket does not say why it was refused; another request does.
  lost: (card) => ask("v1/jobs?limit=1").catch((error) => {
    if (error.status === 401) card.fail(error);
    showFailure(error);
  }),
};

function generate() {
  form.accept();
  if (locked !== null) {
    askForKey(locked);
    byId("key-input").focus();
    return;
  }
  try {
    start(form.read());
  } catch (refusal) {
    form.refuse(refusal);
  }
}

function start(request) {
  const card = new Card(request, page);
  cards.add(card);
  byId("empty").hidden = true;
  byId("results").prepend(card.element);
  // In one column the results stand below the form: scroll to the new card.
  card.element.scrollIntoView({ block: matchMedia("(min-width: 62rem)").matches ? "nearest" : "start" });
  card.generate();
  pollAfter(BUSY_SECONDS);
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
    busy = health.status !== "healthy" || isAtWork() || models.loading !== "";
    show(health.status, sentenceOf(health), health.load_fraction);
    if (locked === null) await updateForm(health);
    if ([...cards].some((card) => card.state === "queued")) await showPositions();
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

/** Fill the form with what depends on the model: once for each default model, and again after a restart. */
async function updateForm(health) {
  if (schemas === null) {
    schemas = (await ask("openapi.json")).components.schemas;
    form.describe(schemas.GenerateBody);
  }
  const { model_id: name, defaults } = health.generator_info;
  if (name === null || name === model) return;
  form.setDefaults(defaults);
  form.setModel(await ask("info"));
  models.offer((await ask("v1/models")).data);
  form.setLoras((await ask("v1/loras")).data, schemas.LoraChoice);
  model = name;
}

async function showPositions() {
  const waiting = await ask("v1/jobs?state=queued");
  for (const job of waiting.data) {
    const card = [...cards].find((each) => each.number === job.id);
    card?.showPosition(job.queue_position ?? 0, job.queue_wait ?? 0);
  }
}

function showUnreachable() {
  schemas = model = null;
  // A stopping server accepts no connection, but finishes what it has begun.
  const hope = isAtWork() ? "Requests in progress may still finish." : "Trying again.";
  show("unreachable", `The server does not answer. ${hope}`);
}

function isAtWork() {
  return [...cards].some((card) => ["sending", "queued", "running"].includes(card.state));
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
poll();

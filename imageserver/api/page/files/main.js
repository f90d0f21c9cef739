// The page: how the server is, the key it asks for, the form, and a card for every request.

import { Card } from "./card.js";
import { RequestForm } from "./form.js";
import { ModelChoice } from "./models.js";
import { Refusal, UNREACHABLE, ask, keep } from "./server.js";

// Seconds between two looks at the server, while something happens and while nothing does.
const BUSY = 1.5;
const IDLE = 6;

const byId = (id) => document.getElementById(id);
const form = new RequestForm(() => generate());
const models = new ModelChoice((name) => choose(name));
const cards = new Set();
let schemas = null;
let model = null;
let timer = null;
// Why a key is asked for, until one is given.
let locked = null;

const page = {
  news: (sentence) => { byId("news").textContent = sentence; },
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
  // A WebSocket does not say why it was not let in, so the server is asked in another way.
  lost: (card) => ask("v1/jobs?limit=1").catch((error) => {
    if (error.status === 401) card.fail(error);
    trouble(error);
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
  // In one column the results stand below the form: what is generated shall have the screen.
  card.element.scrollIntoView({ block: matchMedia("(min-width: 62rem)").matches ? "nearest" : "start" });
  card.generate();
  lookAfter(BUSY);
}

/** Have another model loaded; what the form offers follows it. */
async function choose(name) {
  form.accept();
  models.wait();
  lookAfter(0);
  let loaded = false;
  try {
    await ask("v1/models/load", { model: name });
    loaded = true;
  } catch (error) {
    if (error instanceof Refusal && error.status !== 401) form.refuse(error);
    else trouble(error);
  }
  models.settle(loaded);
  lookAfter(0);
}

async function look() {
  clearTimeout(timer);
  let busy = true;
  try {
    const health = await ask("health");
    busy = health.status !== "healthy" || isAtWork() || models.loading !== "";
    show(health.status, sentenceOf(health), health.load_fraction);
    if (locked === null) await learn(health);
    if ([...cards].some((card) => card.state === "queued")) await tellPlaces();
  } catch (error) {
    trouble(error);
  }
  lookAfter(busy ? BUSY : IDLE);
}

/** Take in that the server refused a question, or does not answer. */
function trouble(error) {
  if (error.status === 401) askForKey(error.message);
  else if (error.code === UNREACHABLE) forget();
  else if (!(error instanceof Refusal)) throw error;
}

function lookAfter(delay) {
  clearTimeout(timer);
  timer = setTimeout(look, 1000 * delay);
}

/** Ask for what does not change while a model is served: once, and again after the server was away. */
async function learn(health) {
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

async function tellPlaces() {
  const waiting = await ask("v1/jobs?state=queued");
  for (const job of waiting.data) {
    const card = [...cards].find((each) => each.number === job.id);
    card?.place(job.queue_position ?? 0, job.queue_wait ?? 0);
  }
}

function forget() {
  schemas = model = null;
  // One that stops takes nobody in, and finishes what it has begun.
  const hope = isAtWork() ? "What is under way may still be finished." : "Trying again.";
  show("unreachable", `The server does not answer. ${hope}`);
}

function isAtWork() {
  return [...cards].some((card) => ["sending", "queued", "running"].includes(card.state));
}

function sentenceOf(health) {
  const { status, reason, device, queue_length: waiting, queue_wait: wait, active_tasks: active } = health;
  if (status === "loading") return `The model is loading. ${reason}`;
  if (status === "draining") return "The server is stopping and takes no more requests.";
  if (status === "degraded") return `The server has a problem. ${reason}`;
  if (models.loading) return `${models.loading} is being loaded. ${health.reason}`;
  const work = active + waiting === 0 ? "idle" : `${active} at work, ${waiting} waiting, ${Math.ceil(wait)} s in all`;
  return `${health.generator_info.model_id} on ${device}: ${work}`;
}

function show(state, sentence, fraction = null) {
  const box = byId("state");
  if (box.dataset.state !== state) page.news(sentence);
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
  look();
});
look();

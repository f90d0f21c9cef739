// The view that makes images: the form, and a card for every request.

import { RequestForm } from "../form/form.js";
import { ImageActions } from "../edits/actions.js";
import { linked } from "../form/links.js";
import { ModelChoice } from "../form/models.js";
import { DroppedImages } from "../inputs/drop.js";
import { Card } from "../jobs/card.js";
import { TaskList } from "../jobs/tasks.js";
import { text } from "../language/text.js";
import { Refusal, ask, open } from "../shell/server.js";
import { isNewLink, keepForm, keptForm } from "../storage/memory.js";

const byId = (id) => document.getElementById(id);

export class CreateView {
  name = "create";
  title = "view.create";
  element = byId("create");

  #page;
  #form = new RequestForm({ generated: () => this.#generate(), changed: (kept) => keepForm(kept) });
  #models = new ModelChoice((name) => this.#choose(name));
  #tasks = new TaskList({
    shown: (request) => this.#addCard(request),
    gone: (card) => this.#drop(card),
    failed: (error) => this.#page.fail(error),
  });
  #schemas = null;
  #info = null;
  #actions = new ImageActions({
    start: (request) => this.#start(request),
    open: async (address) => (await open(address)).blob(),
    fail: (error) => this.#page.fail(error),
  });
  #model = null;
  #isFilled = false;
  #linkedModel = null;

  /** `page` is what the parts of the page ask of it: see main.js. */
  constructor(page) {
    this.#page = page;
    this.#waitForImages();
    addEventListener("hashchange", () => { if (this.#isFilled) this.#useLink(); });
    this.#tasks.restore();
  }

  /** Whether a request is under way, or a model that a person chose is loading. */
  get isBusy() {
    return this.#tasks.busy || this.#models.loading !== "";
  }

  /** The name of the model that a person chose, while it loads, or an empty string. */
  get loading() {
    return this.#models.loading;
  }

  /** Follow the server, given the answer of /health; throws Refusal. */
  async update(health) {
    await this.#updateForm(health);
    await this.#tasks.refresh();
  }

  /** Ask the server again for what the form depends on: it was away, or there is another key. */
  forget() {
    this.#schemas = this.#model = null;
  }

  focus() {
    byId("prompt").focus();
  }

  /** Fill the form with a request's settings, and the seed of one of its images. */
  useSettings(request, seed) {
    this.#form.fill(request, seed);
  }

  /** Write some values into the form, by the names of its fields. */
  useValues(values) {
    this.#form.use(values);
  }

  /** Start from an image, a Blob. */
  startFrom(blob) {
    this.#form.startFrom(blob);
    byId("image").focus();
  }

  async #generate() {
    this.#form.accept();
    if (this.#page.isLocked()) return;
    await this.#form.ready();
    try {
      this.#start(this.#form.read());
      keepForm(this.#form.kept(), { sent: true });
    } catch (refusal) {
      this.#form.refuse(refusal);
    }
  }

  #start(request) {
    this.#tasks.start(request);
    // In one column the results stand below the form: scroll to the new card.
    const block = matchMedia("(min-width: 62rem)").matches ? "nearest" : "start";
    byId("results").firstElementChild.scrollIntoView({ block });
    this.#page.pollSoon();
  }

  #waitForImages() {
    const view = this;
    new DroppedImages({
      get info() { return view.#info; },
      get loras() { return view.#form.loras; },
      get canStart() { return view.#form.startsFromImages; },
      startFrom: (file) => this.#page.startFrom(file),
      useSettings: ({ request, seed, unused }) => {
        this.#page.useSettings(request, seed);
        this.#form.say(unused.length ? text("inputs.unused", { names: unused.join("; ") }) : text("inputs.used"));
      },
      refuse: (refusal) => {
        if (refusal.status === 401) this.#page.fail(refusal);
        else this.#form.refuse(refusal);
      },
    });
  }

  #addCard(request) {
    const card = new Card(request, {
      announce: this.#page.announce,
      cancel: (one) => this.#tasks.cancel(one),
      remove: (one) => this.#remove(one),
      again: (one) => this.#again(one),
      withSeed: (one, seed) => this.useSettings(one, seed),
      startFrom: (address) => this.#startFromAddress(address),
      addActions: (place, image) => this.#actions.add(place, image),
      refused: (one, refusal) => this.#showRefusal(one, refusal),
    });
    byId("empty").hidden = true;
    byId("results").prepend(card.element);
    return card;
  }

  #remove(card) {
    this.#tasks.remove(card);
    this.#drop(card);
  }

  #again(card) {
    this.#remove(card);
    const { request } = card;
    if (request.hasSource && request.source === null) this.#form.fill(request, request.seed ?? "");
    else this.#start(request);
  }

  async #startFromAddress(address) {
    try {
      this.startFrom(await (await open(address)).blob());
    } catch (error) {
      this.#page.fail(error);
    }
  }

  #showRefusal(card, refusal) {
    if (refusal.status === 401) this.#page.fail(refusal);
    if (!this.#form.has(refusal.param)) {
      card.fail(refusal);
      return;
    }
    this.#drop(card);
    this.#form.refuse(refusal);
  }

  #drop(card) {
    const hadFocus = card.element.contains(document.activeElement);
    card.leave();
    this.#actions.forget(card.element);
    byId("empty").hidden = byId("results").childElementCount > 0;
    if (hadFocus) (byId("results").firstElementChild ?? byId("results-title")).focus();
  }

  /** Load another default model; the form follows it. */
  async #choose(name) {
    this.#form.accept();
    this.#models.lock();
    this.#page.pollNow();
    let loaded = false;
    try {
      await ask("v1/models/load", { model: name });
      loaded = true;
    } catch (error) {
      if (error instanceof Refusal && error.status !== 401) this.#form.refuse(error);
      else this.#page.fail(error);
    }
    this.#models.unlock(loaded);
    this.#page.pollNow();
  }

  /** Fill the form with the settings in the address, or else with those that the browser has kept. */
  #fill() {
    this.#isFilled = true;
    const kept = keptForm();
    if (!this.#useLink() && kept !== null) this.#form.restore(kept);
  }

  /** Write the settings in the address into the form, and return whether there are new ones. */
  #useLink() {
    const found = linked(location.hash);
    if (found === null || !isNewLink(location.hash)) return false;
    this.#form.fill(found.request, found.seed);
    this.#linkedModel = found.model;
    this.#warnOfModel();
    return true;
  }

  /** Say that a link was made with another model than the one that would generate now. */
  #warnOfModel() {
    if (!this.#linkedModel || this.#model === null) return;
    const names = { linked: this.#linkedModel, model: this.#model };
    if (names.linked !== names.model) this.#form.refuse(new Refusal(text("form.link.model", names)));
    this.#linkedModel = null;
  }

  /** Fill the form with what depends on the model: once for each default model, and again after a restart. */
  async #updateForm(health) {
    if (this.#schemas === null) {
      this.#schemas = (await ask("openapi.json")).components.schemas;
      this.#form.describe(this.#schemas.GenerateBody);
      if (!this.#isFilled) this.#fill();
    }
    const { model_id: name, defaults } = health.generator_info;
    if (name === null || name === this.#model) return;
    const info = this.#info = await ask("info");
    this.#page.offer(info);
    this.#form.setDefaults(defaults);
    this.#form.setModel(info);
    this.#actions.setModel(info);
    this.#models.offer((await ask("v1/models")).data);
    this.#form.setLoras((await ask("v1/loras")).data, this.#schemas.LoraChoice);
    this.#model = name;
    this.#warnOfModel();
  }
}

// The view that makes images: the form, and a card for every request.

import { RequestForm } from "../form/form.js";
import { ImageActions } from "../edits/actions.js";
import { Downloads } from "../form/downloads.js";
import { linked } from "../form/links.js";
import { RequestModel } from "../form/request_model.js";
import { DroppedImages } from "../inputs/drop.js";
import { whatWasShared } from "../inputs/shared.js";
import { Card } from "../jobs/card.js";
import { isWithoutImages } from "../jobs/task.js";
import { TaskList } from "../jobs/tasks.js";
import { text } from "../language/text.js";
import { RecentPrompts } from "../prompts/recent.js";
import { measureBar } from "../shell/bottom_bar.js";
import { Refusal, open } from "../shell/server.js";
import { isNewLink, keepForm, keptForm } from "../storage/memory.js";
import { EmptyState } from "./empty_state.js";
import { FormImages } from "./form_images.js";

const byId = (id) => document.getElementById(id);

export class CreateView {
  name = "create";
  title = "view.create";
  element = byId("create");

  #page;
  #form = new RequestForm({
    generated: () => this.#generate(),
    changed: () => this.#keep(),
    imagesChanged: () => this.#images.keep(),
  });
  #images = new FormImages(this.#form);
  #model = new RequestModel({
    changed: (defaults, info) => this.#follow(defaults, info),
    accept: () => this.#form.accept(),
    refuse: (refusal) => this.#form.refuse(refusal),
    fail: (error) => this.#page.fail(error),
    poll: () => this.#page.pollNow(),
  });
  #tasks = new TaskList({
    shown: (request, at) => this.#addCard(request, at),
    gone: (card) => this.#drop(card),
    failed: (error) => this.#page.fail(error),
    done: (request) => {
      this.#page.done(request.fields.prompt);
      this.#model.refresh();
    },
  });
  #empty = new EmptyState({
    chosen: (prompt) => {
      this.#form.setPrompt(prompt);
      this.#generate();
    },
    failed: (error) => this.#page.fail(error),
  });
  #recent = new RecentPrompts((prompt) => this.#form.setPrompt(prompt));
  #downloads = new Downloads({ arrived: () => this.#page.learn(), fail: (error) => this.#page.fail(error) });
  #info = null;
  #actions = new ImageActions({
    start: (request) => this.#start(request),
    compare: (before, after) => this.#page.comparison.show(before, after),
    layers: (addresses, prompt) => this.#page.layers.show(addresses, prompt),
    open: async (address) => (await open(address)).blob(),
    fail: (error) => this.#page.fail(error),
  });
  #dropped;
  #isFilled = false;

  /** `page` is what the parts of the page ask of it: see main.js. */
  constructor(page) {
    this.#page = page;
    this.#waitForImages();
    addEventListener("hashchange", () => { if (this.#isFilled) this.#useLink(); });
    measureBar(byId("sending"));
  }

  /** Whether a request is under way, or a model that a person chose is loading. */
  get isBusy() {
    return this.#tasks.busy || this.#model.loading !== "";
  }

  /** The numbers of this browser's jobs that are under way. */
  get ownJobs() {
    return this.#tasks.numbers;
  }

  /** Return the prompt that this browser has sent for the job with this number, while it is under way. */
  promptOf(number) {
    return this.#tasks.promptOf(number);
  }

  /** The name of the model that a person chose, while it loads, or an empty string. */
  get loading() {
    return this.#model.loading;
  }

  /** Ask the server how far the requests are; throws Refusal. */
  async refresh() {
    await this.#tasks.refresh();
  }

  /** Fill the form with what depends on the server and its models, given the answer of page/start.json. */
  describe(start) {
    this.#form.describe(start.fields);
    this.#form.setStyles(start.styles);
    if (!this.#isFilled) {
      this.#fill();
      // The form goes first: each remembered request is a question of its own.
      this.#tasks.restore();
    }
    if (start.info === null) return;
    this.#downloads.offer(start.downloads, namesOf(start.recommended));
    this.#empty.describe(start);
    this.#form.setLoras(start.loras, start.lora_fields);
    this.#model.describe(start);
  }

  /** Send nothing more of what was asked for with another key. */
  leaveUnsent() {
    this.#tasks.leaveUnsent();
  }

  /** Forget what this tab has asked for and could not send. */
  forgetUnsent() {
    this.#tasks.forgetUnsent();
  }

  focus() {
    byId("prompt").focus();
  }

  /**
   * Fill the form with a request's settings, and the seed of one of its images; name those `unused` in the form, and
   * return whether there are none.
   */
  useSettings(request, seed, unused = []) {
    this.#form.fill(request, seed);
    if (request.fields.model) this.#model.choose(request.fields.model);
    const missing = (request.fields.loras ?? []).filter(({ name }) => this.#info && !this.#form.loras.includes(name));
    const names = [...unused, ...missing.map(({ name }) => `LoRA: ${name}`)];
    if (names.length) this.#form.say(text("inputs.unused", { names: names.join("; ") }));
    this.#keep();
    return names.length === 0;
  }

  /** Write some values into the form, by the names of its fields. */
  useValues(values) {
    this.#form.use(values);
  }

  /** Start from an image, a Blob. */
  startFrom(blob) {
    this.#form.startFrom(blob);
    this.#form.revealSource();
  }

  async #generate() {
    this.#form.accept();
    if (this.#page.isLocked()) return;
    await this.#form.ready();
    try {
      this.#start(this.#read());
      this.#recent.add(byId("prompt").value);
      this.#keep({ sent: true });
    } catch (refusal) {
      this.#form.refuse(refusal);
    }
  }

  /** Return the form's request, for the model that the form shows: another may be the default when it arrives. */
  #read() {
    const request = this.#form.read();
    if (this.#model.name) request.fields.model = this.#model.name;
    return request;
  }

  #keep(options) {
    keepForm({ ...this.#form.kept(), model: this.#model.other }, options);
    this.#images.keep(options);
  }

  #follow(defaults, info) {
    const isFirst = this.#info === null;
    this.#info = info;
    this.#form.setModel(defaults, info);
    this.#actions.setModel(info);
    // Not before: whether the form starts from an image depends on its model.
    if (isFirst) this.#begin();
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
    this.#dropped = new DroppedImages({
      get info() { return view.#info; },
      get canStart() { return view.#form.startsFromImages; },
      startFrom: (file) => this.#page.startFrom(file),
      useSettings: ({ request, seed, unused }) => {
        if (this.#page.useSettings(request, seed, unused)) this.#form.say(text("inputs.used"));
      },
      refuse: (refusal) => {
        if (refusal.status === 401) this.#page.fail(refusal);
        else {
          this.#page.showForm();
          this.#form.refuse(refusal);
        }
      },
    });
  }

  /** Show a new card, before those of earlier requests. */
  #addCard(request, at) {
    const card = new Card(request, {
      announce: this.#page.announce,
      cancel: async (one) => {
        await this.#tasks.cancel(one);
        this.#page.pollSoon();
      },
      remove: (one) => this.#remove(one),
      again: (one) => this.#again(one),
      withSeed: (one, seed) => this.useSettings(one, seed),
      startFrom: (address) => this.#startFromAddress(address),
      addActions: (place, image) => this.#actions.add(place, image),
      refused: (one, refusal) => this.#showRefusal(one, refusal),
    });
    const results = byId("results");
    card.element.dataset.at = at;
    results.insertBefore(card.element, [...results.children].find((each) => Number(each.dataset.at) <= at) ?? null);
    this.#empty.follow();
    return card;
  }

  #remove(card) {
    this.#tasks.remove(card);
    this.#drop(card);
  }

  #again(card) {
    this.#remove(card);
    const { request } = card;
    if (isWithoutImages(request)) this.#form.fill(request, request.seed ?? "");
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
    this.#empty.follow();
    if (hadFocus) (byId("results").firstElementChild ?? byId("results-title")).focus();
  }

  /** Fill the form with the settings in the address, or else with those that the browser has kept. */
  #fill() {
    this.#isFilled = true;
    const kept = keptForm();
    if (this.#useLink() || kept === null) return;
    this.#images.find();
    this.#form.restore(kept);
    this.#model.choose(kept.model ?? null);
  }

  /** Write the settings in the address into the form, and return whether there are new ones. */
  #useLink() {
    const found = linked(location.hash);
    if (found === null || !isNewLink(location.hash)) return false;
    this.useSettings(found.request, found.seed);
    return true;
  }

  /** Begin with what another app has shared to the page, or else with the images that the form had. */
  async #begin() {
    const shared = whatWasShared();
    if (shared?.problem) this.#form.refuse(new Refusal(text(`inputs.shared.${shared.problem}`)));
    if (shared?.prompt) this.#form.setPrompt(shared.prompt);
    if (shared?.image) this.#dropped.offer(shared.image);
    const isWhole = await this.#images.restore({ replaced: Boolean(shared?.image) });
    if (!isWhole) this.#form.say(text("form.source.lost"));
  }
}

/** Return the names of the models that fit the machine, the best first, given what is recommended for it, or null. */
function namesOf(recommended) {
  return recommended === null ? [] : [recommended.name, ...recommended.alternatives];
}

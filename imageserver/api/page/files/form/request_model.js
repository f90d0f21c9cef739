// The model of the next request: the form follows it, and it becomes the default model only when somebody says so.

import { text } from "../language/text.js";
import { Refusal, ask } from "../shell/server.js";
import { ModelChoice } from "./models.js";

const byId = (id) => document.getElementById(id);

export class RequestModel {
  #choice = new ModelChoice({
    chosen: () => {
      this.#to.accept();
      this.follow();
    },
    defaultChosen: (name) => this.#makeDefault(name),
  });
  // What the server says of its default model: `{defaults, info}`.
  #standard = null;
  #isUnknown = false;
  #to;

  /**
   * `to.changed(defaults, info)` is called when the form has another model to follow, with `defaults` as /health has them
   * and `info` as `GET /info`; `to.accept()` before, and `to.refuse(refusal)` or `to.fail(error)` after something that may
   * fail; `to.poll()` when the state of the server changes.
   */
  constructor(to) {
    this.#to = to;
  }

  /** Its name, empty until the server has named its models. */
  get name() {
    return this.#choice.chosen;
  }

  /** Its name where it is another than the default model, or null. */
  get other() {
    return this.#choice.other;
  }

  /** The name of the model that is loading to be the default one, or an empty string. */
  get loading() {
    return this.#choice.loading;
  }

  /** Learn what the server has, from the answer of page/start.json. */
  describe({ health, info, models, is_admin: isAdmin }) {
    const { other } = this;
    this.#standard = { defaults: health.generator_info.defaults, info };
    if (!this.#choice.offer(models, isAdmin)) this.#warn(other);
    this.follow();
  }

  /** Choose a model by its name, null for the default one, or say that it is not there. */
  choose(name) {
    const before = this.name;
    if (!this.#choice.choose(name)) this.#warn(name);
    if (this.name !== before && this.#standard !== null) this.follow();
  }

  /** Ask again what it can do, where that was not known: a request has loaded it. */
  refresh() {
    if (this.#isUnknown) this.follow();
  }

  /** Let the form follow it. */
  async follow() {
    const { name } = this;
    const { defaults, info } = this.#standard;
    this.#isUnknown = false;
    if (name === info.model_name) {
      byId("model-note").textContent = "";
      this.#to.changed(defaults, info);
      return;
    }
    try {
      const { details, enhance, loaded } = await ask(`v1/models/${encodeURIComponent(name)}`);
      // Another one was chosen meanwhile.
      if (name !== this.name) return;
      this.#isUnknown = details === null;
      const note = this.#isUnknown ? "form.model.unknown" : "form.model.absent";
      byId("model-note").textContent = loaded ? "" : text(note);
      this.#to.changed(details?.defaults ?? {}, infoOf(name, details, { ...info, enhance }));
    } catch (error) {
      this.#fail(error);
    }
  }

  async #makeDefault(name) {
    this.#to.accept();
    this.#choice.lock();
    this.#to.poll();
    try {
      await ask("v1/models/load", { model: name });
    } catch (error) {
      this.#fail(error);
    }
    this.#choice.unlock();
    this.#to.poll();
  }

  #warn(name) {
    this.#to.refuse(new Refusal(text("form.model.missing", { name, model: this.name })));
  }

  #fail(error) {
    if (error instanceof Refusal && error.status !== 401) this.#to.refuse(error);
    else this.#to.fail(error);
  }
}

/** Return what `GET /info` would say of a model; of one that was never loaded nothing is known. */
function infoOf(name, details, standard) {
  const { draws_from: kinds, images, layers, sampler, schedulers } = details ?? {
    draws_from: ["text"], images: 1, layers: 0, sampler: null, schedulers: {},
  };
  const limits = { ...standard.input_limits, images };
  return { ...standard, model_name: name, draws_from: kinds, input_limits: limits, layers, sampler, schedulers };
}

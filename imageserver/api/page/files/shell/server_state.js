// The line that says what the server does.

import { timeOf } from "../jobs/times.js";
import { text } from "../language/text.js";

const byId = (id) => document.getElementById(id);

export class ServerState {
  #box = byId("state");
  #announce;

  /** `announce(sentence)` is called when the server's state changes. */
  constructor(announce) {
    this.#announce = announce;
  }

  /** Show what /health says; `loading` is the name of the model that this page has asked for, or empty. */
  show(health, loading) {
    this.#show(health.status, sentenceOf(health, loading), health.load_fraction);
  }

  /** Show that the server does not answer. */
  showUnreachable(isBusy) {
    this.#show("unreachable", text(isBusy ? "state.unreachable.busy" : "state.unreachable"));
  }

  #show(state, sentence, fraction = null) {
    if (this.#box.dataset.state !== state) this.#announce(sentence);
    this.#box.dataset.state = state;
    byId("state-text").textContent = sentence;
    byId("load").hidden = state !== "loading" || fraction === null;
    if (fraction !== null) byId("load").value = fraction;
  }
}

function sentenceOf(health, loading) {
  const { status, reason, device, queue_length: waiting, queue_wait: wait, active_tasks: active, devices } = health;
  if (status === "loading") return text("state.loading", { reason });
  if (status === "draining") return text("state.draining");
  if (status === "degraded") return text("state.degraded", { reason });
  if (health.engine_pid === null) return reason;
  if (loading) return text("state.model.loading", { model: loading, reason });
  const figures = { active, waiting, time: timeOf(wait) };
  const work = active + waiting === 0 ? text("state.idle") : text("state.busy", figures);
  const where = devices.length > 1 ? text("state.devices", { count: devices.length }) : device;
  const absent = devices.filter((one) => one.status !== "healthy").map((one) => `${one.name}: ${one.reason}`);
  const model = health.generator_info.model_id;
  return [text("state.ready", { model, where, work }), ...absent].join(text("state.separator"));
}

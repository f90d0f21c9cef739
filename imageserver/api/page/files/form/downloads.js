// The models that a download would bring, with their sizes, and the downloads that were begun here.

import { text } from "../language/text.js";
import { Refusal, ask } from "../shell/server.js";

const POLL_SECONDS = 1.5;

const byId = (id) => document.getElementById(id);

export class Downloads {
  #list = byId("downloads-list");
  // What may not fit the machine is folded.
  #rest = byId("downloads-rest");
  // The rows that stay as they are, by the names of their models: those that somebody has pressed.
  #begun = new Map();
  #to;

  /** `to.arrived()` is called when a model has come, `to.fail(error)` when the server requires a key. */
  constructor(to) {
    this.#to = to;
  }

  /** Offer models, each `{id, gb, licence}`, before the others those whose names are `fitting`, the best first. */
  offer(models, fitting) {
    const names = models.map(({ id }) => id);
    for (const name of this.#begun.keys()) if (!names.includes(name)) this.#begun.delete(name);
    const rows = models.map((model) => ({ rank: fitting.indexOf(model.id), row: this.#begun.get(model.id) ?? this.#row(model) }));
    const first = rows.filter(({ rank }) => rank >= 0).sort((one, other) => one.rank - other.rank);
    const others = rows.filter(({ rank }) => rank < 0);
    this.#rest.hidden = first.length === 0 || others.length === 0;
    this.#list.replaceChildren(...(this.#rest.hidden ? rows : first).map(({ row }) => row));
    this.#rest.lastElementChild.replaceChildren(...(this.#rest.hidden ? [] : others).map(({ row }) => row));
  }

  #row({ id, gb, licence }) {
    const row = byId("download").content.firstElementChild.cloneNode(true);
    row.querySelector(".name").textContent = id;
    row.querySelector(".hint").textContent = text("form.download.size", { gb, licence });
    const button = row.querySelector("button");
    button.setAttribute("aria-label", text("form.download.of", { name: id, gb }));
    button.addEventListener("click", () => this.#download(id, row));
    return row;
  }

  async #download(name, row) {
    const [button, bar, said] = ["button", "progress", ".said"].map((part) => row.querySelector(part));
    this.#begun.set(name, row);
    button.disabled = true;
    said.textContent = "";
    bar.setAttribute("aria-label", text("form.download.progress", { name }));
    bar.hidden = false;
    try {
      await this.#follow((await ask("v1/models/load", { model: name, default: false, wait: false })).job, bar);
      this.#to.arrived();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (error.status === 401) this.#to.fail(error);
      said.textContent = error.message;
    }
    bar.hidden = true;
    button.disabled = false;
  }

  /** Show a job's progress until it has ended; throws Refusal. */
  async #follow(number, bar) {
    for (;;) {
      const job = await ask(`v1/jobs/${number}`);
      bar.value = job.progress;
      if (job.state === "completed") return;
      if (job.completed_at !== null) throw new Refusal(job.error ?? text("jobs.cancelled"));
      await new Promise((resolve) => { setTimeout(resolve, 1000 * POLL_SECONDS); });
    }
  }
}

// The view of the queue: the devices, the requests that run and wait, the last hour, and how "done" is said.

import { text } from "../language/text.js";
import { listed } from "../shell/lists.js";
import { ask, send } from "../shell/server.js";
import { showDevices } from "./devices.js";
import { showHistory } from "./charts.js";
import { JobRow } from "./job_row.js";

// What changes rarely is asked for again after so many updates of the view.
const RARELY = 20;

const byId = (id) => document.getElementById(id);

export class QueueView {
  name = "queue";
  title = "view.queue";
  element = byId("queue");

  #page;
  #rows = new Map();
  // What does not change while a job waits, or while it runs.
  #details = new Map();
  #usage = null;
  #info = null;
  #updates = 0;
  #isShown = false;

  /** `page` is what the parts of the page ask of it: see main.js. */
  constructor(page) {
    this.#page = page;
    byId("queue-all").addEventListener("change", () => page.pollNow());
    byId("queue-cancel-all").addEventListener("click", () => this.#cancelAll());
  }

  /** Whether somebody looks at it. */
  get isShown() {
    return this.#isShown;
  }

  show() {
    this.#isShown = true;
    this.#updates = 0;
    this.#say([]);
    this.#page.pollNow();
  }

  hide() {
    this.#isShown = false;
  }

  /** Show the state of now, given the answer of /health; throws Refusal. */
  async update(health) {
    if (!this.#isShown) return;
    if (this.#updates % RARELY === 0) await this.#askWhatChangesRarely(health);
    this.#updates += 1;
    const all = this.#isAdmin && byId("queue-all").checked ? "all=true&" : "";
    const [underWay, history] = await Promise.all([ask(`v1/jobs/progress?${all}`), ask("v1/history")]);
    const jobs = await this.#described(underWay.data.sort((one, other) => place(one) - place(other)), all);
    showDevices(byId("queue-devices"), health.devices, this.#info?.devices ?? [], history.data, jobs);
    this.#showJobs(jobs);
    byId("queue-history").hidden = !this.#isAdmin;
    if (this.#isAdmin) showHistory(history.data);
  }

  get #isAdmin() {
    return this.#usage?.role === "admin";
  }

  /** Whether a job is this person's: without keys, whether this browser has asked for it. */
  #isOwn(job) {
    if (this.#usage?.name && !byId("queue-all").checked) return true;
    return this.#page.ownJobs().includes(job.id);
  }

  async #askWhatChangesRarely(health) {
    this.#usage = await ask("v1/usage");
    this.#info = health.model_loaded ? await ask("info") : null;
    // Without keys everybody sees every request anyway.
    byId("queue-all-field").hidden = !this.#isAdmin || this.#usage.name === "";
  }

  /** Return jobs with their details, which are asked for when a job is new or begins, and when its model has loaded. */
  async #described(jobs, all) {
    const isNew = (job) => ["state", "total_steps"].some((name) => this.#details.get(job.id)?.[name] !== job[name]);
    const found = await listed(`v1/jobs?${all}`, jobs.filter(isNew).map(({ id }) => id));
    const details = jobs.map(({ id }) => [id, found.get(id) ?? this.#details.get(id)]);
    this.#details = new Map(details.filter(([, known]) => known));
    return jobs.filter(({ id }) => this.#details.has(id)).map((job) => ({ ...this.#details.get(job.id), ...job }));
  }

  #showJobs(jobs) {
    const list = byId("queue-list");
    const hadFocus = list.contains(document.activeElement);
    const rows = jobs.map((job) => this.#rowOf(job));
    for (const [id, row] of this.#rows) {
      if (rows.includes(row)) continue;
      row.element.remove();
      this.#rows.delete(id);
    }
    rows.forEach((row, index) => {
      if (list.children[index] !== row.element) list.insertBefore(row.element, list.children[index] ?? null);
    });
    byId("queue-none").hidden = jobs.length > 0;
    byId("queue-cancel-all").hidden = jobs.filter((job) => this.#isOwn(job)).length < 2;
    if (hadFocus && !list.contains(document.activeElement)) byId("queue-jobs-title").focus();
  }

  #rowOf(job) {
    const row = this.#rows.get(job.id) ?? new JobRow(() => this.#cancel([row]));
    this.#rows.set(job.id, row);
    // As it was sent: the server adds the quality words.
    row.show({ ...job, prompt: this.#page.promptOf(job.id) ?? job.prompt }, this.#isOwn(job));
    return row;
  }

  #cancelAll() {
    const own = [...this.#rows.values()].filter((row) => row.isOwn);
    if (window.confirm(text("queue.cancel.sure", { count: own.length }))) this.#cancel(own);
  }

  async #cancel(rows) {
    const all = this.#isAdmin ? "?all=true" : "";
    const refusals = [];
    let count = 0;
    await Promise.all(rows.map(async (row) => {
      row.isCancelling = true;
      try {
        await send("DELETE", `v1/jobs/${row.id}${all}`);
        count += 1;
      } catch (error) {
        row.isCancelling = false;
        // One that has ended, and been forgotten, needs no cancelling.
        if (error.status !== 404) refusals.push(error);
      }
    }));
    this.#say([text("queue.cancelled", { count }), ...new Set(refusals.map((error) => error.message))]);
    this.#page.pollNow();
    for (const error of refusals.slice(0, 1)) this.#page.fail(error);
  }

  #say(sentences) {
    byId("queue-said").textContent = sentences.join(" ");
  }
}

/** Return a number that sorts jobs: those that run come first. */
function place({ state, queue_position: position }) {
  return state === "processing" ? -1 : (position ?? Infinity);
}

// What the server lists of jobs that the page knows by their numbers.

import { ask } from "./server.js";

// As many as it takes in one question.
const MAX_IDS = 200;

/** Return what an address that accepts `ids` lists of some jobs, by their numbers; throws Refusal. */
export async function listed(address, ids) {
  const jobs = new Map();
  for (let start = 0; start < ids.length; start += MAX_IDS) {
    const { data } = await ask(`${address}ids=${ids.slice(start, start + MAX_IDS)}`);
    for (const job of data) jobs.set(job.id, job);
  }
  return jobs;
}

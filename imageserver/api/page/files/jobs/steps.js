// The steps of a request, as its card and the queue tell them.

import { text } from "../language/text.js";
import { timeOf } from "./times.js";

/** Return how far a job is that runs, and how long it takes still. */
export function stepOf({ step, total_steps: total, expected_seconds: left, ...job }) {
  // Descriptions of images have no steps.
  if (!total) return "";
  if (step === total) return text("jobs.decoding", { total });
  const key = left === null ? "jobs.step" : "jobs.step.left";
  const sentence = text(key, { step, total, time: timeOf(left) });
  const asked = askedSteps({ total_steps: total, ...job });
  return asked ? text("jobs.fewer", { sentence, asked }) : sentence;
}

/** Return how many steps a job has asked for, where it takes fewer, else 0. */
export function askedSteps({ steps, n, total_steps: total }) {
  return steps * n > total ? steps * n : 0;
}

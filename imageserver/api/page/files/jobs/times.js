// Times for people.

import { text } from "../language/text.js";

/** Return seconds as a text: up to a minute and a half in seconds, then in minutes. */
export function timeOf(seconds) {
  if (seconds < 90) return text("jobs.time.seconds", { count: Math.max(1, Math.round(seconds)) });
  return text("jobs.time.minutes", { count: Math.round(seconds / 60) });
}

// Times for people.

import { text } from "../language/text.js";

const UNITS = { days: 86400, hours: 3600, minutes: 60 };

/** Return seconds as a text: up to a minute and a half in seconds, then in minutes. */
export function timeOf(seconds) {
  if (seconds < 90) return text("jobs.time.seconds", { count: Math.max(1, Math.round(seconds)) });
  return text("jobs.time.minutes", { count: Math.round(seconds / 60) });
}

/** Return a long time in the largest unit that fits into it, with a decimal at most. */
export function spanOf(seconds) {
  const unit = Object.keys(UNITS).find((each) => seconds >= UNITS[each]) ?? "minutes";
  const count = Math.round((10 * seconds) / UNITS[unit]) / 10;
  return text(count === 1 ? `jobs.span.${unit}.one` : `jobs.span.${unit}`, { count });
}

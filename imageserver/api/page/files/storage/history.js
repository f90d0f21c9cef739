// The prompts that were sent from this browser, the newest first.

import { erase, read, write } from "./store.js";

const NAME = "prompts";
const MAX_PROMPTS = 50;

export function sentPrompts() {
  return read("localStorage", NAME) ?? [];
}

export function rememberPrompt(prompt) {
  const others = sentPrompts().filter((each) => each !== prompt);
  write("localStorage", NAME, [prompt, ...others].slice(0, MAX_PROMPTS));
}

export function forgetPrompts() {
  erase("localStorage", NAME);
}

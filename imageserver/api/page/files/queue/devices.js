// The devices: their state, their models, what they run, how busy they were, and the memory that they hold.

import { text } from "../language/text.js";

// A share of less than this says little.
const MIN_SECONDS = 5;
const MIB_PER_GIB = 1024;

/** Write one line for each device into a list, from /health, /info, /v1/history and /v1/jobs. */
export function showDevices(list, devices, details, minutes, jobs) {
  list.replaceChildren(...devices.map((device) => {
    const detail = details.find((each) => each.name === device.name);
    const numbers = jobs.filter((job) => job.device === device.name && job.state === "processing").map((job) => job.id);
    return line(device, factsOf(device, detail, shareOf(device.name, minutes), numbers));
  }));
}

function line(device, facts) {
  const element = document.createElement("li");
  const name = document.createElement("strong");
  name.textContent = device.gpu && device.gpu !== device.name ? `${device.name} · ${device.gpu}` : device.name;
  const rest = document.createElement("p");
  rest.className = "hint";
  rest.textContent = facts.join(" · ");
  element.dataset.state = device.status;
  element.append(name, rest);
  return element;
}

function factsOf(device, detail, share, numbers) {
  const isWell = device.status === "healthy";
  const facts = [isWell ? text(device.active_tasks ? "queue.device.works" : "queue.device.idle") : device.reason];
  if (device.models.length) facts.push(device.models.join(", "));
  if (numbers.length) facts.push(text("queue.device.runs", { numbers: numbers.join(", ") }));
  else if (device.active_tasks) facts.push(text("queue.device.active", { count: device.active_tasks }));
  if (share !== null) facts.push(text("queue.device.busy", { percent: Math.round(100 * share) }));
  if (detail?.gpu_memory_mb) {
    facts.push(text("queue.device.memory", { size: (detail.gpu_memory_mb / MIB_PER_GIB).toFixed(1) }));
  }
  return facts;
}

/** Return the share of the last minute in which a device was busy, null while that is unknown. */
function shareOf(name, minutes) {
  const minute = minutes.findLast(({ seconds }) => seconds >= MIN_SECONDS);
  return minute?.devices.find((device) => device.name === name)?.busy ?? null;
}

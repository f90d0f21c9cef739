// The last hour as small charts, and as a table for those who do not see them.

import { text } from "../language/text.js";

const SVG = "http://www.w3.org/2000/svg";
const MINUTES = 60;
const WIDTH = 300;
const HEIGHT = 64;
const KINDS = [
  { key: "queued", of: (minute) => minute.queued },
  { key: "running", of: (minute) => minute.running },
  { key: "busy", of: busy, maximum: 100 },
  { key: "refused", of: (minute) => minute.refused },
];

const byId = (id) => document.getElementById(id);

/** Show the minutes of /v1/history, the oldest first. */
export function showHistory(minutes) {
  byId("queue-charts").replaceChildren(...KINDS.map((kind) => chart(kind, minutes.map(kind.of))));
  byId("queue-table").replaceChildren(...minutes.toReversed().map(row));
}

function chart({ key, maximum }, values) {
  const highest = Math.max(...values, 0);
  const top = maximum ?? Math.max(1, highest);
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  caption.textContent = text(`queue.chart.${key}`, { now: rounded(values.at(-1) ?? 0), most: rounded(highest) });
  const image = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true", preserveAspectRatio: "none" });
  const width = WIDTH / MINUTES;
  values.forEach((value, index) => {
    const height = (value / top) * HEIGHT;
    const x = (MINUTES - values.length + index) * width;
    image.append(shape("rect", { x: x + 0.5, y: HEIGHT - height, width: width - 1, height }));
  });
  figure.append(caption, image);
  return figure;
}

function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function row(minute) {
  const element = document.createElement("tr");
  const time = new Date(1000 * minute.ended_at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  for (const value of [time, ...KINDS.map((kind) => rounded(kind.of(minute)))]) {
    element.append(Object.assign(document.createElement("td"), { textContent: value }));
  }
  return element;
}

/** Return the mean share of all devices in percent. */
function busy({ devices }) {
  return devices.length ? (100 * devices.reduce((sum, device) => sum + device.busy, 0)) / devices.length : 0;
}

function rounded(value) {
  return String(Math.round(10 * value) / 10);
}

// The demo model: what it knows, why it serves, and which model would generate real images on this machine.

import { text } from "../language/text.js";

const DEMO = "demo";
const CPU = "cpu";
const AUTOMATIC = "MODEL=auto";

const byId = (id) => document.getElementById(id);

/** Describe it where it serves; `info` is the answer of `GET /info`, `recommended` a model with its `settings`, or null. */
export function describeDemo({ model_name: name, model_reason: reason, device, gpu }, recommended) {
  byId("demo-says").hidden = name !== DEMO;
  byId("demo-reason").textContent = reason.replaceAll("`", "");
  byId("demo-better").textContent = betterThan(device, gpu, recommended);
  byId("demo-line").textContent = `${recommended?.settings ?? AUTOMATIC} bash start_server.sh`;
}

function betterThan(device, gpu, recommended) {
  if (recommended === null) return text("demo.none");
  const { name, download_gb: gb, licence } = recommended;
  const better = text(device === CPU ? "demo.cpu" : "demo.card", { name, gpu });
  return gb ? better + text("demo.download", { gb, licence }) : better;
}

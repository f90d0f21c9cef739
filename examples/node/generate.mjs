// Generate with the OpenAI SDK for Node: `npm install && node generate.mjs --url http://localhost:5000`.
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import OpenAI, { toFile } from "openai";

const { url } = parseArgs({ options: { url: { type: "string", default: "http://localhost:5000" } } }).values;
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: process.env.QIS_API_KEY ?? "unused" });

const answer = await client.images.generate({ prompt: "a red circle on a blue background", size: "512x512" }).catch((error) => {
  if (!(error instanceof OpenAI.APIConnectionError)) throw error;
  console.error(`No server answers at ${url}; start one with: bash start_server.sh`);
  process.exit(1);
});
const circle = Buffer.from(answer.data[0].b64_json, "base64");
writeFileSync("circle.png", circle);
console.log("generated", answer.size);

const stream = await client.images.generate({ prompt: "a yellow star", size: "512x512", stream: true, partial_images: 2 });
for await (const event of stream) {
  const data = Buffer.from(event.b64_json, "base64");
  const name = event.type === "image_generation.completed" ? "star.png" : `partial_${event.partial_image_index}.png`;
  writeFileSync(name, data);
  console.log(event.type);
}

const edited = await client.images.edit({
  image: await toFile(circle, "circle.png", { type: "image/png" }),
  prompt: "a yellow circle on a blue background",
});
writeFileSync("edited.png", Buffer.from(edited.data[0].b64_json, "base64"));
console.log("edited", edited.size);

const answered = await client.responses.create({
  model: "gpt-5",
  input: [{ role: "user", content: [
    { type: "input_text", text: "a green circle on a blue background" },
    { type: "input_image", detail: "auto", image_url: `data:image/png;base64,${circle.toString("base64")}` },
  ] }],
  tools: [{ type: "image_generation" }],
});
writeFileSync("answered.png", Buffer.from(answered.output[0].result, "base64"));
console.log("answered", answered.output[0].action);

try {
  await client.images.generate({ prompt: "", size: "512x512" });
} catch (error) {
  console.log("refused", error.status, error.param);
}

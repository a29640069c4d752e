// The official JavaScript clients against the gateway: one line of JSON a call, {"call": …, "ok": …, "result": …}.
//
// Usage: node run_node.js BASE_URL KEY. The certificate to trust is in NODE_EXTRA_CA_CERTS.

import Anthropic from "@anthropic-ai/sdk";
import { Ollama } from "ollama";
import OpenAI from "openai";

const [base, key] = process.argv.slice(2);
const said = [{ role: "user", content: "hi" }];

async function call(name, run) {
  let line;
  try {
    line = { call: name, ok: true, result: await run() };
  } catch (error) {
    const status = error.status ?? error.status_code ?? null;
    line = { call: name, ok: false, status, kind: error.constructor.name, result: String(error.message) };
  }
  console.log(JSON.stringify(line));
}

async function count(pieces) {
  let number = 0;
  for await (const _ of pieces) number += 1;
  return number;
}

const native = new Ollama({ host: base, headers: { Authorization: `Bearer ${key}` } });
await call("ollama chat", async () => (await native.chat({ model: "tiny", messages: said })).message.content);
await call("ollama chat stream", async () => count(await native.chat({ model: "tiny", messages: said, stream: true })));
await call("ollama generate", async () => (await native.generate({ model: "tiny", prompt: "hi" })).response);
await call("ollama embed", async () => (await native.embed({ model: "tiny", input: "hi" })).embeddings[0].length);
await call("ollama list", async () => (await native.list()).models.length);
await call("ollama show", async () => (await native.show({ model: "tiny" })).details.format);
await call("ollama missing model", async () => native.chat({ model: "nope", messages: said }));
await call("ollama no key", async () => new Ollama({ host: base }).list());
await call("ollama abort", async () => {
  const pieces = await native.chat({ model: "slow", messages: said, stream: true });
  for await (const _ of pieces) native.abort();
});

const openai = new OpenAI({ baseURL: `${base}/v1`, apiKey: key, maxRetries: 0 });
const model = { model: "tiny", messages: said };
await call("openai chat", async () => (await openai.chat.completions.create(model)).choices[0].message.content);
await call("openai chat stream", async () => count(await openai.chat.completions.create({ ...model, stream: true })));
await call("openai embeddings", async () =>
  (await openai.embeddings.create({ model: "tiny", input: "hi", encoding_format: "float" })).data[0].embedding.length);
await call("openai models", async () => (await openai.models.list()).data.length);
await call("openai responses", async () => (await openai.responses.create({ model: "tiny", input: "hi" })).output_text);
await call("openai missing model", async () => openai.chat.completions.create({ ...model, model: "nope" }));

const anthropic = new Anthropic({ baseURL: base, apiKey: key, maxRetries: 0 });
const message = { model: "tiny", max_tokens: 16, messages: said };
await call("anthropic messages", async () => (await anthropic.messages.create(message)).content[0].text);
await call("anthropic stream", async () => anthropic.messages.stream(message).finalText());
await call("anthropic missing model", async () => anthropic.messages.create({ ...message, model: "nope" }));

// What a call may hold besides words.
const city = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tool = { name: "get_weather", description: "Says the weather", parameters: city };
const tools = [{ type: "function", function: tool }];
const shape = { type: "object", properties: { name: { type: "string" } }, required: ["name"] };
const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const calling = { model: "tiny-tools", messages: said };
await call("ollama tools", async () => (await native.chat({ ...calling, tools })).message.tool_calls[0].function.arguments);
await call("ollama schema", async () =>
  JSON.parse((await native.chat({ model: "tiny-json", messages: said, format: shape })).message.content));
await call("ollama thinking", async () =>
  (await native.chat({ model: "tiny-think", messages: said, think: true })).message.thinking);
await call("ollama image", async () =>
  (await native.chat({ model: "tiny", messages: [{ role: "user", content: "see", images: [pixel] }] })).message.role);
await call("openai tools", async () =>
  JSON.parse((await openai.chat.completions.create({ ...calling, tools })).choices[0].message.tool_calls[0].function.arguments));
await call("openai image", async () => {
  const image = { type: "image_url", image_url: { url: `data:image/png;base64,${pixel}` } };
  const content = [{ type: "text", text: "see" }, image];
  return (await openai.chat.completions.create({ model: "tiny", messages: [{ role: "user", content }] })).object;
});
await call("anthropic tools", async () =>
  (await anthropic.messages.create({ ...calling, max_tokens: 16, tools: [{ name: "get_weather", input_schema: city }] }))
    .content[0].input);
await call("anthropic image", async () => {
  const source = { type: "base64", media_type: "image/png", data: pixel };
  const content = [{ type: "image", source }, { type: "text", text: "see" }];
  return (await anthropic.messages.create({ ...message, messages: [{ role: "user", content }] })).role;
});

// The official JavaScript clients and a silent Ollama: the same answer at once, late, and with a gap, all at the same time.
//
// Usage: node silence.js BASE_URL KEY. The certificate to trust is in NODE_EXTRA_CA_CERTS. Prints a line of JSON a call.

import Anthropic from "@anthropic-ai/sdk";
import { Ollama } from "ollama";
import OpenAI from "openai";

const [base, key] = process.argv.slice(2);
const messages = [{ role: "user", content: "hi" }];
const native = new Ollama({ host: base, headers: { Authorization: `Bearer ${key}` } });
const openai = new OpenAI({ baseURL: `${base}/v1`, apiKey: key, maxRetries: 0 });
const anthropic = new Anthropic({ baseURL: base, apiKey: key, maxRetries: 0 });

async function joined(pieces, text) {
  let whole = "";
  for await (const piece of pieces) whole += text(piece) ?? "";
  return whole;
}

const clients = {
  ollama: {
    stream: async (model) => joined(await native.chat({ model, messages, stream: true }), (piece) => piece.message.content),
    whole: async (model) => (await native.chat({ model, messages })).message.content,
  },
  openai: {
    stream: async (model) =>
      joined(await openai.chat.completions.create({ model, messages, stream: true }), (piece) => piece.choices[0]?.delta.content),
    whole: async (model) => (await openai.chat.completions.create({ model, messages })).choices[0].message.content,
  },
  anthropic: {
    stream: async (model) => anthropic.messages.stream({ model, messages, max_tokens: 16 }).finalText(),
    whole: async (model) => (await anthropic.messages.create({ model, messages, max_tokens: 16 })).content[0].text,
  },
};

async function call(name, run) {
  let line;
  try {
    line = { call: name, ok: true, result: await run() };
  } catch (error) {
    line = { call: name, ok: false, kind: error.constructor.name, result: String(error.message) };
  }
  console.log(JSON.stringify(line));
}

const calls = [];
for (const [client, { stream, whole }] of Object.entries(clients)) {
  for (const model of ["prompt-stream", "late-stream", "gap-stream"]) calls.push(call(`${client} ${model}`, () => stream(model)));
  for (const model of ["prompt-whole", "late-whole"]) calls.push(call(`${client} ${model}`, () => whole(model)));
}
await Promise.all(calls);
process.exit(0); // connections that are kept alive do not keep the process

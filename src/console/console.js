// The live part of the console. Everything works without it but the numbers; text is only ever set as text.
"use strict";

const POINTS = 120;
const answered = [];
const refused = [];
let before = null;

const at = (id) => document.getElementById(id);
const show = (id, value, bad = false) => {
  const place = at(id);
  place.textContent = value;
  place.classList.toggle("bad", bad);
};

function state(text, on) {
  const place = at("state");
  place.textContent = text;
  place.className = "state " + (on ? "on" : "off");
}

function cell(row, text, kind) {
  const place = document.createElement("td");
  place.textContent = text ?? "";
  if (kind) place.className = kind;
  row.append(place);
}

function rows(id, items, fill) {
  const made = items.map((item) => {
    const row = document.createElement("tr");
    fill(row, item);
    return row;
  });
  at(id).replaceChildren(...made);
}

function line(kind, values, top) {
  const step = 240 / (POINTS - 1);
  const first = POINTS - values.length;
  const point = (value, i) => `${((first + i) * step).toFixed(1)},${(57 - (value / top) * 54).toFixed(1)}`;
  document.querySelector(`polyline.${kind}`).setAttribute("points", values.map(point).join(" "));
}

function keep(values, value) {
  values.push(Math.max(0, value));
  if (values.length > POINTS) values.shift();
}

function draw(now) {
  const output = Object.fromEntries(now.tokens).output ?? 0;
  const bad = now.refused + now.failed;
  show("in_flight", now.in_flight);
  show("waiting", now.waiting);
  show("connections", now.connections);
  show("refused", now.refused);
  show("failed", now.failed, now.failed > 0);
  const days = Math.min(...now.certificates.map(([, left]) => left));
  show("certificate", Number.isFinite(days) ? days : "–", days < 5);
  if (before) {
    keep(answered, now.answered - before.answered);
    keep(refused, bad - before.bad);
    show("rate", now.answered + bad - before.answered - before.bad);
    show("tokens", Math.max(0, output - before.output));
    const top = Math.max(5, ...answered, ...refused);
    line("answered", answered, top);
    line("refused", refused, top);
  }
  before = { answered: now.answered, bad, output };
  const most = now.refusals.sort((a, b) => b[1] - a[1]).slice(0, 8);
  rows("refusals", most, (row, [code, count]) => { cell(row, code); cell(row, count, "number"); });
  rows("events", now.events, (row, event) => {
    cell(row, event.at.slice(11, 19));
    cell(row, event.event, event.level);
    cell(row, event.client);
    cell(row, event.principal);
    cell(row, event.reason);
  });
}

function follow() {
  const source = new EventSource("/console/live");
  source.onopen = () => state("live", true);
  source.onmessage = (message) => draw(JSON.parse(message.data));
  source.onerror = () => {
    // A browser tries again by itself, unless the answer was no stream: then the session is over.
    const over = source.readyState === EventSource.CLOSED;
    state(over ? "signed out: load the page again" : "connecting", false);
  };
}

for (const form of document.querySelectorAll("form[data-ask]")) {
  form.addEventListener("submit", (event) => {
    if (!window.confirm(form.dataset.ask)) event.preventDefault();
  });
}
// A piece of an answer: text, the figures at its end, or why it broke off.
function piece(line) {
  const said = JSON.parse(line);
  const error = said.error?.message ?? said.error;
  at("answer").append(said.message?.content ?? "", error ? `\n${error}` : "");
  if (error) at("answer").classList.add("bad");
  if (said.done) show("figures", `${said.prompt_eval_count ?? 0} tokens in, ${said.eval_count ?? 0} out`);
}

async function read(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    const lines = (rest + (value ?? "")).split("\n");
    rest = done ? "" : lines.pop();
    lines.filter((line) => line.trim()).forEach(piece);
    if (done) return;
  }
}

async function ask(event) {
  event.preventDefault();
  const [form, stop] = [event.target, at("stop")];
  const leaving = new AbortController();
  at("answer").replaceChildren();
  at("answer").classList.remove("bad");
  show("figures", "…");
  stop.hidden = false;
  stop.onclick = () => leaving.abort();
  try {
    const body = new URLSearchParams(new FormData(form));
    const answer = await fetch(form.action, { method: "POST", body, signal: leaving.signal });
    if (answer.status !== 200) show("figures", `refused: ${answer.status}`);
    await read(answer);
  } catch (fault) {
    show("figures", leaving.signal.aborted ? "stopped" : String(fault));
  }
  stop.hidden = true;
}

at("chat")?.addEventListener("submit", ask);
if (at("chart")) follow();

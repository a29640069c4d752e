"""Gives a gateway a bit of everything to do, for `profile`: workout.py GATEWAY [ROUNDS]

A stand-in for Ollama that answers at once is started here, the gateway before it; both end with it. Prints how often which
answer came, and fails where what should be served is not.
"""

import base64
import collections
import http.client
import http.server
import json
import pathlib
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time

MODEL = "tiny:latest"
END = {"done": True, "done_reason": "stop", "total_duration": 5_000_000, "prompt_eval_count": 26, "eval_count": 5}
CHAT = {"model": MODEL, "created_at": "2026-01-01T00:00:00Z"}
OPENAI = {"id": "chatcmpl-1", "created": 1, "model": MODEL, "system_fingerprint": "fp_ollama"}
USAGE = {"prompt_tokens": 26, "completion_tokens": 5, "total_tokens": 31}
CLAUDE = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL}
WORDS = ["The ", "sky ", "is ", "blue, ", "\u00fcberall."] * 4


def lines(values):
    return "".join(json.dumps(value) + "\n" for value in values)


def events(values):
    return "".join(f"data: {json.dumps(value)}\n\n" for value in values) + "data: [DONE]\n\n"


def named(values):
    return "".join(f"event: {value['type']}\ndata: {json.dumps(value)}\n\n" for value in values)


def native(key, say, stream):
    if stream:
        return lines([CHAT | {key: say(word), "done": False} for word in WORDS] + [CHAT | {key: say("")} | END])
    return json.dumps(CHAT | {key: say("".join(WORDS))} | END)


def message(text):
    return {"role": "assistant", "content": text}


def completion(stream):
    if not stream:
        choice = {"index": 0, "message": message("".join(WORDS)), "finish_reason": "stop"}
        return json.dumps(OPENAI | {"object": "chat.completion", "choices": [choice], "usage": USAGE})
    chunk = OPENAI | {"object": "chat.completion.chunk"}
    deltas = [chunk | {"choices": [{"index": 0, "delta": message(word), "finish_reason": None}]} for word in WORDS]
    last = chunk | {"choices": [{"index": 0, "delta": message(""), "finish_reason": "stop"}]}
    return events([*deltas, last, chunk | {"choices": [], "usage": USAGE}])


def claude(stream):
    usage = {"input_tokens": 26, "output_tokens": 5}
    if not stream:
        content = [{"type": "text", "text": "".join(WORDS)}]
        return json.dumps(CLAUDE | {"content": content, "stop_reason": "end_turn", "usage": usage})
    delta = [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in WORDS]
    return named(
        [
            {"type": "message_start", "message": CLAUDE | {"content": [], "stop_reason": None, "usage": usage}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            *delta,
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
            {"type": "message_stop"},
        ]
    )


def embeddings(_):
    return json.dumps({"model": MODEL, "embeddings": [[0.01] * 384], "total_duration": 1, "prompt_eval_count": 2})


def tags(_):
    details = {"format": "gguf", "family": "llama", "parameter_size": "1B", "quantization_level": "Q4_0"}
    model = {"name": MODEL, "model": MODEL, "modified_at": "2026-01-01T00:00:00Z", "size": 1, "digest": "a" * 64}
    return json.dumps({"models": [model | {"details": details}] * 20})


ANSWERS = {
    "/api/chat": ("application/x-ndjson", lambda stream: native("message", message, stream)),
    "/api/generate": ("application/x-ndjson", lambda stream: native("response", str, stream)),
    "/v1/chat/completions": ("text/event-stream", completion),
    "/v1/messages": ("text/event-stream", claude),
    "/api/embed": ("", embeddings),
    "/api/tags": ("", tags),
}


class StandIn(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        asked = json.loads(self.rfile.read(length) or b"{}")
        kind, made = ANSWERS[self.path]
        stream = bool(kind) and asked.get("stream", True)
        body = made(stream).encode()
        self.send_response(200)
        self.send_header("Content-Type", kind if stream else "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


CONFIGURATION = """
[server]
names = ["localhost"]
https = ["127.0.0.1:0"]
http = []
state = "{folder}/state"
[admin]
listen = "off"
[tls]
certificate = "self-signed"
[upstream]
url = "http://127.0.0.1:{port}"
[limits]
general = {rate}
chat = {rate}
authentication_failures = {rate}
[roles.admin]
endpoints = ["inference", "catalogue", "management"]
models = ["*"]
"""
RATE = '{ rate = "100000/second", burst = 10000 }'


def turns(text, count):
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at in range(count)]


def conversations():
    prose = "The quick brown fox jumps over the lazy dog, and zw\u00f6lf Boxk\u00e4mpfer jagen Viktor. " * 48
    code = 'fn main() {\n    println!("{}", "hello");\n}\n' * 80
    picture = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x04\0\0\0\x04\0\x08\x06\0\0\0" + b"Z" * 60_000
    picture = base64.b64encode(picture).decode()
    said = [turns("Why is the sky blue?", 1)] * 10 + [turns(prose, 21), turns(code, 21)]
    for stream in (False, True):
        for messages in said:
            body = {"model": MODEL, "messages": messages, "stream": stream}
            yield "/api/chat", body | {"options": {"temperature": 0.5}}
            yield "/v1/chat/completions", body | {"max_tokens": 100}
            yield "/v1/messages", body | {"max_tokens": 100}
        yield "/api/chat", {"model": MODEL, "messages": [turns("?", 1)[0] | {"images": [picture]}], "stream": stream}
        yield "/api/generate", {"model": MODEL, "prompt": prose, "stream": stream}
    yield "/api/embed", {"model": MODEL, "input": ["a", prose]}


def ask(connection, method, path, key, body=None):
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    answer.read()
    return path, answer.status


def work(connection, key, rounds):
    found = collections.Counter()
    for _ in range(rounds):
        for path, body in conversations():
            found[ask(connection, "POST", path, key, json.dumps(body))] += 1
        found[ask(connection, "GET", "/api/tags", key)] += 1
        found[ask(connection, "GET", "/api/health", key)] += 1
        found[ask(connection, "GET", "/nothing", key)] += 1
        found[ask(connection, "POST", "/api/chat", key, "{nonsense")] += 1
        found[ask(connection, "POST", "/api/chat", key[:-1] + ("A" if key[-1] != "A" else "B"), "{}")] += 1
    return found


def main():
    gateway, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 40
    upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder, "gateway.toml")
        config.write_text(CONFIGURATION.format(folder=folder, port=upstream.server_port, rate=RATE))
        pathlib.Path(folder, "state").mkdir(mode=0o700)
        made = [gateway, "key", "create", "--role", "admin", "--name", "workout", "--config", config]
        key = subprocess.run(made, check=True, capture_output=True, text=True).stdout.strip()
        log = pathlib.Path(folder, "log")
        with log.open("w") as out:
            serving = subprocess.Popen([gateway, "serve", "--config", config], stdout=out, stderr=out)
        try:
            while '"ready"' not in log.read_text():
                if serving.poll() is not None:
                    sys.exit(log.read_text())
                time.sleep(0.05)
            port = int(re.search(r'127\.0\.0\.1:(\d+)"', log.read_text()).group(1))
            trusted = ssl.create_default_context(cafile=next(pathlib.Path(folder).rglob("cert.pem")))
            found = work(http.client.HTTPSConnection("localhost", port, context=trusted), key, rounds)
        finally:
            serving.send_signal(signal.SIGTERM)
            serving.wait()
    for (path, status), times in sorted(found.items()):
        print(times, status, path)
    served = {path for path, status in found if status == 200}
    sys.exit(f"not served: {ANSWERS.keys() - served}" if ANSWERS.keys() - served else 0)


main()

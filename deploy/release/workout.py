"""Gives a gateway a bit of everything to do, for `profile`: workout.py GATEWAY [ROUNDS]

A stand-in for Ollama that gives recorded answers at once is started here, the gateway before it; both end with it. Prints how often which
answer came, and fails where what should be served is not.
"""

import base64
import collections
import functools
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
RECORDED = pathlib.Path(__file__).parents[2] / "tests/cases/ollama"
# The exchange whose answer each route gives: whole, and streamed.
ANSWERS = {
    "/api/chat": ("chat_nostream", "chat_stream"),
    "/api/generate": ("generate_nostream", "generate_stream_absent_default_true"),
    "/v1/chat/completions": ("v1_chat_nostream", "v1_chat_stream_usage"),
    "/v1/messages": ("v1_messages", "v1_messages_stream"),
    "/api/embed": ("embed_array",) * 2,
    "/api/tags": ("m_get_with_body",) * 2,
}


@functools.cache
def recorded(name):
    answer = json.loads(RECORDED.joinpath(f"{name}.json").read_text())["response"]
    return dict(answer["headers"])["Content-Type"], [chunk["text"].encode() for chunk in answer["chunks"]]


class StandIn(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        whole, streamed = ANSWERS[self.path]
        kind, pieces = recorded(streamed if asked.get("stream", True) else whole)
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in [*pieces, b""]:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))

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

"""The official Python clients and a silent Ollama: the same answer at once, late, and with a gap, all at the same time.

Usage: silence.py BASE_URL KEY. The certificate to trust is in SSL_CERT_FILE. Prints a line of JSON a call.
"""

import json
import os
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor

import anthropic
import httpx
import ollama
import openai

try:
    import httpx2  # the HTTP library that this version of the client wants
except ImportError:
    httpx2 = httpx

BASE, KEY = sys.argv[1], sys.argv[2]
TRUST = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
SAID = [{"role": "user", "content": "hi"}]

native = ollama.Client(host=BASE, headers={"Authorization": f"Bearer {KEY}"}, verify=TRUST)
# Their own timeouts (ten minutes) stay as they are.
like_openai = openai.OpenAI(base_url=f"{BASE}/v1", api_key=KEY, http_client=openai.DefaultHttpxClient(verify=TRUST), max_retries=0)
like_anthropic = anthropic.Anthropic(base_url=BASE, api_key=KEY, http_client=anthropic.DefaultHttpxClient(verify=TRUST) if httpx2 is httpx else httpx2.Client(verify=TRUST, timeout=600), max_retries=0)


def ollama_stream(model):
    return "".join(piece.message.content for piece in native.chat(model, SAID, stream=True))


def openai_stream(model):
    pieces = like_openai.chat.completions.create(model=model, messages=SAID, stream=True)
    return "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)


def anthropic_stream(model):
    with like_anthropic.messages.stream(model=model, max_tokens=16, messages=SAID) as stream:
        return "".join(stream.text_stream)


STREAMS = {"ollama": ollama_stream, "openai": openai_stream, "anthropic": anthropic_stream}
WHOLE = {
    "ollama": lambda model: native.chat(model, SAID).message.content,
    "openai": lambda model: like_openai.chat.completions.create(model=model, messages=SAID).choices[0].message.content,
    "anthropic": lambda model: like_anthropic.messages.create(model=model, max_tokens=16, messages=SAID).content[0].text,
}


def call(client, functions, model):
    """Runs one call and prints what it gave."""
    try:
        line = {"call": f"{client} {model}", "ok": True, "result": functions[client](model)}
    except Exception as error:  # noqa: BLE001: whatever a client raises is the result
        line = {"call": f"{client} {model}", "ok": False, "kind": type(error).__name__, "result": str(error)}
    print(json.dumps(line) + "\n", end="", flush=True)


with ThreadPoolExecutor(16) as pool:
    for client in STREAMS:
        for model in ("prompt-stream", "late-stream", "gap-stream"):
            pool.submit(call, client, STREAMS, model)
        for model in ("prompt-whole", "late-whole"):
            pool.submit(call, client, WHOLE, model)

"""The official Python clients against the gateway: one line of JSON a call, {"call": …, "ok": …, "result": …}.

Usage: run_python.py BASE_URL KEY. The certificate to trust is in SSL_CERT_FILE.
"""

import asyncio
import json
import os
import ssl
import sys

import anthropic
import httpx
import ollama
import openai

BASE, KEY = sys.argv[1], sys.argv[2]
TRUST = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
SAID = [{"role": "user", "content": "hi"}]
FAILED = False


def call(name, function):
    """Runs one call and prints what it gave."""
    global FAILED
    try:
        line = {"call": name, "ok": True, "result": function()}
    except Exception as error:  # noqa: BLE001: whatever a client raises is the result
        status = getattr(error, "status_code", None)
        line = {"call": name, "ok": False, "status": status, "kind": type(error).__name__, "result": str(error)}
    print(json.dumps(line), flush=True)


def stream_count(pieces):
    return len(list(pieces))


# --- ollama ---
native = ollama.Client(host=BASE, headers={"Authorization": f"Bearer {KEY}"}, verify=TRUST)
call("ollama chat", lambda: native.chat("tiny", SAID).message.content)
call("ollama chat stream", lambda: stream_count(native.chat("tiny", SAID, stream=True)))
call("ollama generate", lambda: native.generate("tiny", "hi").response)
call("ollama generate stream", lambda: stream_count(native.generate("tiny", "hi", stream=True)))
call("ollama embed", lambda: len(native.embed("tiny", "hi").embeddings[0]))
call("ollama embeddings", lambda: len(native.embeddings("tiny", "hi").embedding))
call("ollama list", lambda: [model.model for model in native.list().models][:3])
call("ollama ps", lambda: [model.model for model in native.ps().models])
call("ollama show", lambda: native.show("tiny").details.format)
call("ollama missing model", lambda: native.chat("nope", SAID))
call("ollama forbidden", lambda: str(native.delete("tiny")))
keyless = ollama.Client(host=BASE, verify=TRUST)
call("ollama no key", lambda: keyless.list())


async def native_async():
    client = ollama.AsyncClient(host=BASE, headers={"Authorization": f"Bearer {KEY}"}, verify=TRUST)
    return (await client.chat("tiny", SAID)).message.content


call("ollama async chat", lambda: asyncio.run(native_async()))


def native_abort():
    """Leaves in the middle of a stream."""
    pieces = native.chat("slow", SAID, stream=True)
    first = next(pieces)
    pieces.close()
    return first.message.content


call("ollama abort", native_abort)

# --- openai ---
like_openai = openai.OpenAI(base_url=f"{BASE}/v1", api_key=KEY, http_client=httpx.Client(verify=TRUST), max_retries=0)
call("openai chat", lambda: like_openai.chat.completions.create(model="tiny", messages=SAID).choices[0].message.content)
call("openai chat stream", lambda: stream_count(like_openai.chat.completions.create(model="tiny", messages=SAID, stream=True)))
call("openai embeddings", lambda: len(like_openai.embeddings.create(model="tiny", input="hi", encoding_format="float").data[0].embedding))
call("openai models", lambda: [model.id for model in like_openai.models.list()][:3])
call("openai model", lambda: like_openai.models.retrieve("tiny").id)
call("openai completions", lambda: like_openai.completions.create(model="tiny", prompt="hi").choices[0].text)
call("openai responses", lambda: like_openai.responses.create(model="tiny", input="hi").output_text)
call("openai responses stream", lambda: [event.type for event in like_openai.responses.create(model="tiny", input="hi", stream=True)][-1])
call("openai missing model", lambda: like_openai.chat.completions.create(model="nope", messages=SAID))
wrong = openai.OpenAI(base_url=f"{BASE}/v1", api_key="wrong", http_client=httpx.Client(verify=TRUST), max_retries=0)
call("openai wrong key", lambda: wrong.models.list())

# --- anthropic ---
try:
    import httpx2  # the HTTP library that this version of the client wants
except ImportError:
    httpx2 = httpx
like_anthropic = anthropic.Anthropic(base_url=BASE, api_key=KEY, http_client=httpx2.Client(verify=TRUST), max_retries=0)


def claude(model="tiny"):
    return like_anthropic.messages.create(model=model, max_tokens=16, messages=SAID).content[0].text


def claude_stream():
    with like_anthropic.messages.stream(model="tiny", max_tokens=16, messages=SAID) as stream:
        return "".join(stream.text_stream)


call("anthropic messages", claude)
call("anthropic stream", claude_stream)
call("anthropic missing model", lambda: claude("nope"))

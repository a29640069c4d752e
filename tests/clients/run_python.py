"""The official Python clients against the gateway: one line of JSON a call, {"call": …, "ok": …, "result": …}.

Usage: run_python.py BASE_URL KEY. The certificate to trust is in SSL_CERT_FILE.
"""

import asyncio
import base64
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

# --- ollama: what a call may hold besides words ---
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
SHAPE = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"name": "get_weather", "description": "Says the weather", "parameters": CITY}
TOOLS = [{"type": "function", "function": TOOL}]


def native_tools():
    """A model asks for a tool, and gets what it says."""
    asked = native.chat("tiny-tools", SAID, tools=TOOLS).message
    answer = {"role": "tool", "tool_name": "get_weather", "content": "rain"}
    return [asked.tool_calls[0].function.arguments, native.chat("tiny", [*SAID, asked, answer]).message.role]


def native_thinking():
    pieces = list(native.chat("tiny-think-stream", SAID, think=True, stream=True))
    return "".join(piece.message.thinking or "" for piece in pieces)


call("ollama tools", native_tools)
call("ollama schema", lambda: json.loads(native.chat("tiny-json", SAID, format=SHAPE).message.content))
call("ollama thinking", lambda: native.chat("tiny-think", SAID, think=True).message.thinking)
call("ollama thinking stream", native_thinking)
call("ollama image", lambda: native.chat("tiny", [{"role": "user", "content": "see", "images": [PIXEL]}]).message.role)
call("ollama logprobs", lambda: native.chat("tiny-probs", SAID, logprobs=True, top_logprobs=2).logprobs[0].token)
call("ollama many embeddings", lambda: len(native.embed("tiny", ["hi", "ho"], dimensions=8).embeddings[0]))

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

DATA = "data:image/png;base64," + base64.b64encode(PIXEL).decode()


def openai_tools():
    chat = like_openai.chat.completions.create
    asked = chat(model="tiny-tools", messages=SAID, tools=TOOLS).choices[0].message
    answer = {"role": "tool", "tool_call_id": asked.tool_calls[0].id, "content": "rain"}
    chat(model="tiny", messages=[*SAID, asked.model_dump(exclude_none=True), answer])
    return json.loads(asked.tool_calls[0].function.arguments)


def openai_image():
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": DATA}}]
    return like_openai.chat.completions.create(model="tiny", messages=[{"role": "user", "content": parts}]).choices[0].message.role


def openai_thinking():
    pieces = like_openai.chat.completions.create(model="tiny-think-stream", messages=SAID, reasoning_effort="low", stream=True)
    return "".join(getattr(piece.choices[0].delta, "reasoning", None) or "" for piece in pieces if piece.choices)


def responses_tools():
    tools = [{"type": "function", **TOOL, "strict": False}]
    events = like_openai.responses.create(model="tiny-tools-stream", input="hi", tools=tools, stream=True)
    return [event.item.name for event in events if event.type == "response.output_item.done"]


STRICT = {"type": "json_schema", "json_schema": {"name": "shape", "schema": SHAPE}}
call("openai tools", openai_tools)
call("openai schema", lambda: like_openai.chat.completions.create(model="tiny", messages=SAID, response_format=STRICT).object)
call("openai image", openai_image)
call("openai thinking stream", openai_thinking)
call("openai logprobs", lambda: like_openai.chat.completions.create(model="tiny", messages=SAID, logprobs=True, top_logprobs=2).object)
call("openai responses tools stream", responses_tools)
call("openai responses schema", lambda: like_openai.responses.create(model="tiny", input="hi", text={"format": {"type": "json_schema", "name": "shape", "schema": SHAPE}}).object)

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


def claude_tools():
    tools = [{"name": "get_weather", "input_schema": CITY}]
    create = like_anthropic.messages.create
    asked = create(model="tiny-tools", max_tokens=16, messages=SAID, tools=tools).content
    answer = [{"type": "tool_result", "tool_use_id": asked[0].id, "content": "rain"}]
    turns = [*SAID, {"role": "assistant", "content": asked}, {"role": "user", "content": answer}]
    create(model="tiny", max_tokens=16, messages=turns, tools=tools)
    return asked[0].input


def claude_image():
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PIXEL).decode()}
    parts = [{"type": "image", "source": source}, {"type": "text", "text": "see"}]
    return like_anthropic.messages.create(model="tiny", max_tokens=16, messages=[{"role": "user", "content": parts}]).role


def claude_thinking():
    thinking = {"type": "enabled", "budget_tokens": 1024}
    with like_anthropic.messages.stream(model="tiny-think-stream", max_tokens=2048, messages=SAID, thinking=thinking) as stream:
        return stream.get_final_message().content[0].thinking


call("anthropic tools", claude_tools)
call("anthropic image", claude_image)
call("anthropic thinking stream", claude_thinking)

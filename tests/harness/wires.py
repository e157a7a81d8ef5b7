"""The three upstream wires as the tests see them: which alias is pointed where, what a wire cannot do, and a
request of a wire read back into OpenAI's terms, so that one test can look at what any upstream got.

Nothing here comes from the gateway's codecs.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pictures import GIF

Body = dict[str, Any]

PINNED = "llama-3.3-70b"
"""The pinned alias that is pointed at each wire in turn, and most chat cases call."""
PINNED_SEEING = "nvidia/llama-4-maverick"
"""The one with eyes, for the cases with images."""


@dataclass(frozen=True)
class Cannot:
    """One thing that a wire cannot do: the field (or part of a request), what becomes of it, and why."""

    what: str
    outcome: str
    why: str
    request: Body
    """Fields that ask for it."""


REFUSED, DROPPED = "refused", "dropped"
BIAS = Cannot("logit_bias", DROPPED, "no such field", {"logit_bias": {"5": 1}})
LOGPROBS = Cannot("logprobs", REFUSED, "not enabled there", {"logprobs": True, "top_logprobs": 2})
WORDLESS = Cannot(
    "messages without a text", REFUSED, "no empty texts", {"messages": [{"role": "user", "content": ""}]}
)
TOOL: Body = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
OBJECT = {"type": "json_object"}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "a", "schema": {"type": "object", "properties": {"a": {"type": "string"}}}},
}
STRICT = Cannot(
    "strict",
    DROPPED,
    "no such field",
    {"tools": [{"type": "function", "function": {**TOOL["function"], "strict": True}}]},
)


def _looking(url: str) -> Body:
    image = {"type": "image_url", "image_url": {"url": url}}
    return {"model": PINNED_SEEING, "messages": [{"role": "user", "content": [image]}]}


ASKING = [{"role": "user", "content": "Answer in JSON."}]


@dataclass(frozen=True)
class Wire:
    """`provider` is the simulator's and LiteLLM's name, `model` what the aliases are pointed at there;
    `silent_events` is how many events of a stream come before its first output."""

    name: str
    provider: str
    model: str | None
    seeing_model: str | None
    silent_events: int
    cannot: tuple[Cannot, ...]
    read: Callable[[Body], Body]
    usage: Callable[[Any], Any]
    """OpenAI's usage object as this wire writes it; what is none stays as it is."""

    def lacks(self, what: str) -> Cannot | None:
        """The row of this name, or None when the wire can do it."""
        return next((row for row in self.cannot if row.what == what), None)


def _openai(body: Body) -> Body:
    return body


def _same_usage(usage: Any) -> Any:
    return usage


def _parts_of(usage: Body) -> tuple[int, int]:
    """Cached input and reasoning of OpenAI's usage object."""
    prompt, completion = usage.get("prompt_tokens_details", {}), usage.get("completion_tokens_details", {})
    return prompt.get("cached_tokens", 0), completion.get("reasoning_tokens", 0)


def _less(count: Any, part: int) -> Any:
    return count - part if part else count


def _anthropic_usage(usage: Any) -> Any:
    if not isinstance(usage, dict):
        return usage
    cached, thought = _parts_of(usage)
    found: Body = {}
    if "prompt_tokens" in usage:
        found["input_tokens"] = _less(usage["prompt_tokens"], cached)
    if "completion_tokens" in usage:
        found["output_tokens"] = usage["completion_tokens"]
    found |= {"cache_read_input_tokens": cached} if cached else {}
    return found | ({"output_tokens_details": {"thinking_tokens": thought}} if thought else {})


def _gemini_usage(usage: Any) -> Any:
    if not isinstance(usage, dict):
        return usage
    cached, thought = _parts_of(usage)
    found: Body = {}
    if "prompt_tokens" in usage:
        found["promptTokenCount"] = usage["prompt_tokens"]
    if "completion_tokens" in usage:
        found["candidatesTokenCount"] = _less(usage["completion_tokens"], thought)
    found |= {"cachedContentTokenCount": cached} if cached else {}
    return found | ({"thoughtsTokenCount": thought} if thought else {})


def _anthropic(body: Body) -> Body:
    """A Messages request as the chat completion that it is."""
    messages = [{"role": "system", "content": "".join(b["text"] for b in body.get("system", ()))}]
    for turn in body["messages"]:
        messages += _anthropic_turn(turn)
    found: Body = {"messages": messages if body.get("system") else messages[1:]}
    names = {"max_tokens": "max_tokens", "temperature": "temperature", "top_p": "top_p", "stream": "stream"}
    found |= {
        ours: body[theirs] for theirs, ours in (*names.items(), ("stop_sequences", "stop")) if theirs in body
    }
    if "tools" in body:
        found["tools"] = [_tool(t["name"], t.get("description"), t["input_schema"]) for t in body["tools"]]
    choice = body.get("tool_choice")
    if choice is not None:
        if "disable_parallel_tool_use" in choice:
            found["parallel_tool_calls"] = not choice["disable_parallel_tool_use"]
        kinds = {"auto": "auto", "any": "required", "none": "none"}
        found["tool_choice"] = kinds.get(choice["type"]) or _named(choice["name"])
    if "format" in body.get("output_config", {}):
        found["response_format"] = body["output_config"]["format"]["schema"]
    return found


def _anthropic_turn(turn: Body) -> list[Body]:
    found: list[Body] = []
    said: Body = {"role": turn["role"], "content": []}
    for block in turn["content"]:
        if block["type"] == "tool_result":
            text = block.get("content", "")
            found.append({"role": "tool", "content": text, "tool_call_id": block["tool_use_id"]})
        elif block["type"] == "tool_use":
            calls = said.setdefault("tool_calls", [])
            calls.append(_call(block["id"], block["name"], block["input"]))
        elif block["type"] == "text":
            said["content"].append({"type": "text", "text": block["text"]})
        else:
            source = block["source"]
            url = source.get("url") or f"data:{source['media_type']};base64,{source['data']}"
            said["content"].append({"type": "image_url", "image_url": {"url": url}})
    return [*found, *_said(said)]


def _gemini(body: Body) -> Body:
    """A generateContent request as the chat completion that it is."""
    system = "".join(p["text"] for p in body.get("systemInstruction", {}).get("parts", ()))
    messages: list[Body] = [{"role": "system", "content": system}] if system else []
    for turn in body["contents"]:
        messages += _gemini_turn(turn)
    found: Body = {"messages": messages}
    names = {
        "maxOutputTokens": "max_tokens",
        "temperature": "temperature",
        "topP": "top_p",
        "stopSequences": "stop",
        "seed": "seed",
        "responseJsonSchema": "response_format",
    }
    config = body["generationConfig"]
    found |= {ours: config[theirs] for theirs, ours in names.items() if theirs in config}
    if "tools" in body:
        [tools] = body["tools"]
        declared = tools["function_declarations"]
        found["tools"] = [
            _tool(t["name"], t.get("description"), t.get("parameters") or t.get("parametersJsonSchema"))
            for t in declared
        ]
    if "toolConfig" in body:
        choice = body["toolConfig"]["functionCallingConfig"]
        allowed = choice.get("allowed_function_names")
        kinds = {"AUTO": "auto", "ANY": "required", "NONE": "none"}
        found["tool_choice"] = _named(allowed[0]) if allowed else kinds[choice["mode"]]
    return found


def _gemini_turn(turn: Body) -> list[Body]:
    found: list[Body] = []
    said: Body = {"role": {"model": "assistant"}.get(turn["role"], turn["role"]), "content": []}
    for part in turn["parts"]:
        if "functionResponse" in part:
            response = part["functionResponse"]["response"]
            text = response["output"] if list(response) == ["output"] else json.dumps(response)
            found.append({"role": "tool", "content": text, "tool_call_id": part["functionResponse"]["name"]})
        elif "functionCall" in part:
            call = part["functionCall"]
            said.setdefault("tool_calls", []).append(_call(call["name"], call["name"], call["args"]))
        elif "text" in part:
            said["content"].append({"type": "text", "text": part["text"]})
        else:
            inline = part["inlineData"]
            url = f"data:{inline['mimeType']};base64,{inline['data']}"
            said["content"].append({"type": "image_url", "image_url": {"url": url}})
    return [*found, *_said(said)]


def _said(message: Body) -> list[Body]:
    """A message whose texts are one string when there are only texts; none for one that says nothing."""
    parts = message["content"]
    if not parts and "tool_calls" not in message:
        return []
    if all(p["type"] == "text" for p in parts):
        message["content"] = "".join(p["text"] for p in parts) if parts else None
    return [message]


def _call(call_id: str, name: str, given: Any) -> Body:
    function = {"name": name, "arguments": json.dumps(given, separators=(",", ":"))}
    return {"id": call_id, "type": "function", "function": function}


def _tool(name: str, description: str | None, schema: Any) -> Body:
    told = {"description": description} if description is not None else {}
    return {"type": "function", "function": {"name": name, **told, "parameters": schema}}


def _named(name: str) -> Body:
    return {"type": "function", "function": {"name": name}}


OPENAI = Wire("openai", "groq", None, None, 1, (BIAS, LOGPROBS), _openai, _same_usage)
GEMINI = Wire(
    "gemini",
    "gemini",
    "gemini/gemini-2.5-flash-lite",
    "gemini/gemini-2.5-flash-lite",
    0,
    (
        BIAS,
        LOGPROBS,
        WORDLESS,
        STRICT,
        Cannot("presence_penalty", DROPPED, "not enabled on every model", {"presence_penalty": 0.5}),
        Cannot("frequency_penalty", DROPPED, "not enabled on every model", {"frequency_penalty": 0.5}),
        Cannot(
            "parallel_tool_calls", DROPPED, "no such field", {"tools": [TOOL], "parallel_tool_calls": False}
        ),
        Cannot(
            "response_format beside tools",
            REFUSED,
            "no JSON answers beside function calling before Gemini 3",
            {"tools": [TOOL], "response_format": SCHEMA, "messages": ASKING},
        ),
        Cannot("images as gif", REFUSED, "not one of its formats", _looking(GIF)),
        Cannot("images by address", REFUSED, "takes them inline only", _looking("https://a.example/b.png")),
        Cannot("stop beyond five", DROPPED, "at most five stop strings", {"stop": [*"abcdefg"]}),
    ),
    _gemini,
    _gemini_usage,
)
ANTHROPIC = Wire(
    "anthropic",
    "anthropic",
    "anthropic/claude-sonnet-4-6",
    "anthropic/claude-sonnet-4-6",
    3,
    (
        BIAS,
        LOGPROBS,
        WORDLESS,
        STRICT,
        Cannot("seed", DROPPED, "no such field", {"seed": 7}),
        Cannot("presence_penalty", DROPPED, "no such field", {"presence_penalty": 0.5}),
        Cannot("frequency_penalty", DROPPED, "no such field", {"frequency_penalty": 0.5}),
        Cannot("top_p beside temperature", DROPPED, "one of both", {"temperature": 0.5, "top_p": 0.5}),
        Cannot("stop of blanks", DROPPED, "no blank stop strings", {"stop": ["\n"]}),
        Cannot(
            "response_format json_object",
            REFUSED,
            "JSON only to a schema",
            {"response_format": OBJECT, "messages": ASKING},
        ),
        Cannot(
            "assistant message at the end",
            REFUSED,
            "no prefilled answers",
            {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well"}]},
        ),
    ),
    _anthropic,
    _anthropic_usage,
)
WIRES = {wire.name: wire for wire in (OPENAI, GEMINI, ANTHROPIC)}


def wire_of(provider: str) -> Wire:
    """The wire that a provider of the simulator speaks."""
    return next((wire for wire in WIRES.values() if wire.name == provider), OPENAI)


def merged(messages: list[Body]) -> list[Body]:
    """Consecutive texts of one role as one message, which is what wires with two roles make of them."""
    found: list[Body] = []
    for message in messages:
        if found and found[-1]["role"] == message["role"] and isinstance(message["content"], str):
            found[-1] = {**message, "content": found[-1]["content"] + message["content"]}
        else:
            found.append(message)
    return found

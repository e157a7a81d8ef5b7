"""What the simulated model says: a function of the request's body and nothing else.

The text tells that it is simulated. Tool calls, JSON answers, stop strings and output limits follow the
request; how a provider dresses the answer up is decided elsewhere.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from llmdeal_litellm.simulator import tokens
from llmdeal_litellm.simulator.schema_instance import instance

QUOTE_CHARS_MAX = 80
TOOL_RESULT_CHARS_MAX = 200
SAY_WORDS_MAX = 50_000
FORCED_LENGTH_TOKENS = 64
"""Where a script asks for a `length` ending and the request names no limit."""

_SAY = re.compile(r"\bsay (\d{1,6}) words?\b", re.IGNORECASE)
_WORDS = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet")
_FILLER = (
    "No model was asked and nothing here is knowledge.",
    "The words stay the same whenever the request stays the same.",
    "Counts and limits are real, the thinking is not.",
    "Ask for more words to get a longer text.",
    "Every sentence after the first one is filler.",
)
_REASONING = "The simulator pretends to weigh the request before it answers."


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """One call of a tool."""

    name: str
    arguments: str
    """JSON text; cut short when the output limit fell into it."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model says, how it ends, and the tokens it took."""

    content: str | None
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    finish_reason: str = "stop"
    stop_string: str | None = None
    """The stop string that ended it."""
    prompt_tokens: int
    completion_tokens: int
    """Everything generated, reasoning included."""
    reasoning_tokens: int = 0

    def instead(self, text: str, finish_reason: str) -> "Answer":
        """Another answer to the same prompt, for a reason of its own and without a thought."""
        return Answer(
            content=text,
            finish_reason=finish_reason,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=tokens.count(text),
        )


@dataclass(frozen=True, kw_only=True)
class ChatRequest:
    """A chat body in its neutral form, which is OpenAI's, with the derived values that modules share."""

    provider: str
    body: dict[str, Any]
    prompt_tokens: int
    thinks: bool
    """The model thinks before it answers."""
    shows_thoughts: bool
    """What it thinks is in the answer. OpenAI's wire has its own rules for that."""
    seed: str = field(default="")
    """64 hex characters, a hash of the body: the source of every deterministic id."""

    @property
    def model(self) -> str:
        return str(self.body["model"])

    @property
    def streams(self) -> bool:
        return self.body.get("stream") is True

    @property
    def includes_usage(self) -> bool:
        options = self.body.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [m for m in self.body.get("messages") or () if isinstance(m, dict)]

    @property
    def limit_tokens(self) -> int | None:
        """The smaller of the two limits; every provider that takes both is assumed to do so."""
        given = (self.body.get("max_tokens"), self.body.get("max_completion_tokens"))
        numbers = [value for value in given if isinstance(value, int) and not isinstance(value, bool)]
        return min(numbers) if numbers else None


def parse(provider: str, body: dict[str, Any], *, thinks: bool, shows_thoughts: bool = True) -> ChatRequest:
    """The request, its input counted and hashed; streamed or not, the same question has the same answer."""
    asked = {name: value for name, value in body.items() if name not in ("stream", "stream_options")}
    seed = hashlib.sha256(provider.encode() + orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return ChatRequest(
        provider=provider,
        body=body,
        prompt_tokens=tokens.prompt_tokens(body),
        thinks=thinks,
        shows_thoughts=shows_thoughts,
        seed=seed,
    )


def text_of(content: Any) -> str:
    """The text of a message's content, whichever form it has."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(p["text"] for p in content if isinstance(p, dict) and isinstance(p.get("text"), str))
    return ""


def image_count(messages: list[dict[str, Any]]) -> int:
    """How many images the messages carry."""
    parts = (p for m in messages if isinstance(m.get("content"), list) for p in m["content"])
    return sum(1 for p in parts if isinstance(p, dict) and p.get("type") == "image_url")


def last_user_text(messages: list[dict[str, Any]]) -> str:
    """The text of the newest user message, or an empty string."""
    return next((text_of(m.get("content")) for m in reversed(messages) if m.get("role") == "user"), "")


def asks_to(request: ChatRequest, phrase: str) -> bool:
    """Whether the newest user text has these words."""
    return phrase in last_user_text(request.messages).lower()


def compose(request: ChatRequest, *, force_length: bool = False) -> Answer:
    """The whole answer, cut at stop strings and at the output limit."""
    limit = request.limit_tokens
    if force_length and limit is None:
        limit = FORCED_LENGTH_TOKENS
    calls = () if force_length else _tool_calls(request)
    reasoning = _REASONING if request.thinks else ""
    if calls:
        return _limited_calls(request, calls, reasoning, limit)
    text = _text(request)
    if force_length:
        text = " ".join(_words(min(limit or 0, SAY_WORDS_MAX) + 1, request.seed))
    text, stop_string = _stopped(text, request.body.get("stop"))
    return _limited_text(request, text, reasoning, limit, stop_string)


def _limited_text(
    request: ChatRequest, text: str, reasoning: str, limit: int | None, stop_string: str | None
) -> Answer:
    budget = limit if limit is not None else 10**9
    thought = tokens.truncate(reasoning, budget)
    thought_tokens = min(tokens.count(thought), budget)
    said = tokens.truncate(text, budget - thought_tokens)
    cut = thought != reasoning or said != text
    # A cut is billed at the limit itself, also where the last token was half a character and is not shown.
    total = budget if cut else thought_tokens + tokens.count(said)
    return Answer(
        content=said,
        reasoning=thought,
        finish_reason="length" if cut else "stop",
        stop_string=None if cut else stop_string,
        prompt_tokens=request.prompt_tokens,
        completion_tokens=total,
        reasoning_tokens=thought_tokens,
    )


def _limited_calls(
    request: ChatRequest, calls: tuple[ToolCall, ...], reasoning: str, limit: int | None
) -> Answer:
    left = limit if limit is not None else 10**9
    thought = tokens.truncate(reasoning, left)
    thought_tokens = tokens.count(thought)
    left -= thought_tokens
    kept: list[ToolCall] = []
    cut = thought != reasoning
    for call in calls:
        name_tokens = tokens.count(call.name)
        if cut or left <= name_tokens:
            cut = True
            break
        arguments = tokens.truncate(call.arguments, left - name_tokens)
        left -= name_tokens + tokens.count(arguments)
        cut = arguments != call.arguments
        kept.append(ToolCall(name=call.name, arguments=arguments))
    spent = (
        limit
        if cut and limit is not None
        else thought_tokens + sum(tokens.count(call.name) + tokens.count(call.arguments) for call in kept)
    )
    return Answer(
        content=None if kept else "",
        tool_calls=tuple(kept),
        reasoning=thought,
        finish_reason="length" if cut else "tool_calls",
        prompt_tokens=request.prompt_tokens,
        completion_tokens=spent,
        reasoning_tokens=thought_tokens,
    )


def _text(request: ChatRequest) -> str:
    schema = _json_schema(request)
    if schema is not None:
        return orjson.dumps(instance(schema)).decode()
    messages = request.messages
    asked = last_user_text(messages)
    say = _SAY.search(asked)
    if say:
        return " ".join(_words(min(int(say.group(1)), SAY_WORDS_MAX), request.seed))
    images = image_count(messages)
    seen = f"I see {images} image{'' if images == 1 else 's'}. " if images else ""
    if messages and messages[-1].get("role") == "tool":
        results = "; ".join(_tool_results(messages))
        return f'{seen}This is a simulated answer from the tool result: "{results}". {_FILLER[0]}'
    quoted = " ".join(asked.split())[:QUOTE_CHARS_MAX]
    first = int(request.seed[:4], 16)
    filler = " ".join(_FILLER[(first + i) % len(_FILLER)] for i in range(1 + first % 2))
    return f'{seen}This is a simulated answer to: "{quoted}". {filler}'


def _tool_results(messages: list[dict[str, Any]]) -> list[str]:
    """The texts of the tool messages at the end, oldest first."""
    found: list[str] = []
    for message in reversed(messages):
        if message.get("role") != "tool":
            break
        found.append(text_of(message.get("content"))[:TOOL_RESULT_CHARS_MAX])
    return found[::-1]


def _json_schema(request: ChatRequest) -> Any:
    """The schema the text must fit, or None."""
    wanted = request.body.get("response_format")
    if not isinstance(wanted, dict):
        return None
    if wanted.get("type") == "json_schema" and isinstance(wanted.get("json_schema"), dict):
        return wanted["json_schema"].get("schema") or {"type": "object"}
    if wanted.get("type") == "json_object":
        return {"properties": {"simulated": {"const": True}, "answer": {"type": "string"}}}
    return None


def _words(number: int, seed: str) -> Iterator[str]:
    start = int(seed[4:8], 16)
    return (_WORDS[(start + i) % len(_WORDS)] for i in range(number))


def _stopped(text: str, stop: Any) -> tuple[str, str | None]:
    """The text up to the first stop string in it, and that string."""
    strings = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    places = [(text.find(s), s) for s in strings if isinstance(s, str) and s and s in text]
    if not places:
        return text, None
    place, found = min(places, key=lambda one: one[0])
    return text[:place], found


def _tool_calls(request: ChatRequest) -> tuple[ToolCall, ...]:
    """The calls this answer makes, or none.

    `required` (`any`) and a named function force a call on every turn, as with the real ones; `auto` calls
    when the last message is the user's and names a tool or says "weather" or "call".
    """
    offered = _offered(request.body)
    if not offered:
        return ()
    choice = request.body.get("tool_choice") or "auto"
    text = last_user_text(request.messages).lower()
    named = [name for name in offered if name.lower() in text]
    if isinstance(choice, dict):
        wanted = (choice.get("function") or {}).get("name") or choice.get("name")
        if wanted in offered:
            return (_call(wanted, offered[wanted]),)
        choice = (choice.get("allowed_tools") or {}).get("mode", "auto")
    if choice == "none":
        return ()
    if choice not in ("required", "any"):
        last = request.messages[-1] if request.messages else {}
        if last.get("role") != "user" or not (named or "weather" in text or "call" in text):
            return ()
    chosen = named or [next((n for n in offered if "weather" in n.lower()), next(iter(offered)))]
    if request.body.get("parallel_tool_calls") is False:
        chosen = chosen[:1]
    return tuple(_call(name, offered[name]) for name in chosen)


def _offered(body: dict[str, Any]) -> dict[str, Any]:
    """The functions on offer: name to parameter schema, in the request's order."""
    functions = (t.get("function") for t in body.get("tools") or () if isinstance(t, dict))
    return {
        f["name"]: f.get("parameters")
        for f in functions
        if isinstance(f, dict) and isinstance(f.get("name"), str)
    }


def _call(name: str, schema: Any) -> ToolCall:
    arguments = instance(schema) if isinstance(schema, dict) else {}
    return ToolCall(name=name, arguments=orjson.dumps(arguments).decode())

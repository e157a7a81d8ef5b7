"""Finds in an answer what a caller must not see: who served it, what runs the gateway, anybody's keys.

What may be seen is what the API reference itself publishes (alias names, lane member names) and the model's
own text. Everything else is checked from both sides: names and fields against allow-lists, and all remaining
text against a deny-list.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
from processes import shipped_config

HEADERS = frozenset(
    "content-type content-length transfer-encoding date cache-control server retry-after x-should-retry vary "
    "connection allow www-authenticate".split()
)
HEADER_FAMILIES = ("x-llmdeal-", "x-ratelimit-", "access-control-")
HEADER_VALUES = {
    "server": r"llmdeal-gateway/1\.0",
    "x-llmdeal-request-id": r"req_[0-9a-f]{24}",
    "content-type": r"application/json|text/event-stream",
    "www-authenticate": r"Bearer",
    "transfer-encoding": r"chunked",
    "connection": r"close|keep-alive",
    "retry-after": r"[1-9]|[1-5][0-9]|60",
    "x-should-retry": r"false",
}
FIELDS = frozenset(
    "error code message type id object created model choices index delta finish_reason role content "
    "reasoning_content refusal tool_calls function name arguments logprobs token logprob bytes top_logprobs "
    "usage prompt_tokens completion_tokens total_tokens data embedding owned_by context_window tags ok "
    "currency default_rate input output rates input_per_1m output_per_1m catalog display_name tiers "
    "accessible_to_caller caller_tier note input_tokens est_output_tokens low expected high est_cost_usd "
    "breakdown input_usd output_usd rate_per_1m estimator status".split()
)
MODELS_OWN_TEXT = frozenset("content reasoning_content refusal arguments token bytes embedding".split())
OBJECTS = frozenset("chat.completion chat.completion.chunk list embedding model".split())
PUBLISHED_WORDS = ("tiktoken-cl100k-base",)
CALLERS_OWN_TEXT = re.compile(r"^Model '.*' is not in the catalog\.")
"""Where a message quotes what the caller wrote, whatever that was."""
OWN_ALIAS = r"byo-[a-z0-9.-]{1,56}"
DENIED = re.compile(
    r"groq|nvidia|\bnim\b|nvcf|nvapi|cerebras|mistral|google|gemini|vertex|openai|anthropic|claude|\bgpt-"
    r"|cloudflare|cf-ray|__cf|cfuvid|envoy|\bkong\b|nginx|vllm|canary|upstream-secret"
    r"|litellm|uvicorn|starlette|fastapi|httpx|httptools|aiohttp|pydantic|orjson|jiter|tiktoken|websockets"
    r"|sqlite|asyncio|\bpython|site-packages|traceback|file \"|\.py\b"
    r"|\bgsk_|\bcsk-|AIza|\bsk-|\blld_[0-9a-f]{32}|\borg[-_]|\bproj_|\bacct_|\bkey_[0-9a-f]{8}"
    r"|localhost|\b127\.\d|\b10\.\d+\.\d|\b192\.168\.|\.(com|net|org|ai|dev|example|internal)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Shown:
    """An answer as it came over the wire. Header names are lower case."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


def _published() -> tuple[frozenset[str], re.Pattern[str], re.Pattern[str]]:
    """The names that the reference publishes, those names in a text, and the upstreams' own model names."""
    config = shipped_config()
    section = config["llmdeal"]
    names = {*section["models"], *section["lanes"]}
    for model in section["models"].values():
        names |= {model.get("lane_name"), *model.get("catalog", {}).values()} - {None}
    upstream = {e["litellm_params"]["model"].partition("/")[2] for e in config["model_list"]} - names
    upstream |= {name.rpartition("/")[2] for name in upstream} - names
    longest_first = sorted((*names, *PUBLISHED_WORDS), key=len, reverse=True)
    in_text = re.compile(rf"(?<![\w/-])({'|'.join(map(re.escape, longest_first))})(?![\w/-])")
    return frozenset(names), in_text, re.compile("|".join(map(re.escape, sorted(upstream))), re.IGNORECASE)


PUBLISHED, _PUBLISHED_IN_TEXT, _UPSTREAM_MODELS = _published()


def leaks(shown: Shown) -> list[str]:
    """What is wrong with an answer, each as where and what; empty when nothing is."""
    return [*_of_text("reason phrase", shown.reason), *_of_headers(shown.headers), *_of_body(shown)]


def _of_headers(headers: Iterable[tuple[str, str]]) -> Iterator[str]:
    seen: set[str] = set()
    for name, value in headers:
        if name not in HEADERS and not name.startswith(HEADER_FAMILIES):
            yield f"header {name}: not one of ours"
        if name in seen:
            yield f"header {name}: sent twice"
        seen.add(name)
        if not re.fullmatch(HEADER_VALUES.get(name, ".*"), value):
            yield f"header {name}: {value}"
        yield from _of_text(f"header {name}", f"{name}: {value}")
    if "server" not in seen or "x-llmdeal-request-id" not in seen:
        yield "headers: server or x-llmdeal-request-id is missing"


def _of_body(shown: Shown) -> Iterator[str]:
    text = shown.body.decode("utf-8", "replace")
    if dict(shown.headers).get("content-type", "").startswith("text/event-stream"):
        for event in text.split("\n\n"):
            yield from _of_event(event)
    elif text:
        yield from _of_json("body", text)


def _of_event(event: str) -> Iterator[str]:
    for line in event.split("\n"):
        if line.startswith("data: {"):
            yield from _of_json("event", line.removeprefix("data: "))
        elif line not in ("", "data: [DONE]", ": keep-alive"):
            yield from _of_text("event line", line)
            if not line.startswith("data:"):
                yield f"event line: {line}"


def _of_json(where: str, text: str) -> Iterator[str]:
    try:
        value = json.loads(text)
    except ValueError:  # cut off, or no JSON at all: all of it is text
        yield from _of_text(where, text)
        return
    yield from _of_value(where, value)


def _of_value(where: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, child in value.items():
            if name not in FIELDS:
                yield f"{where}: field '{name}' is not one of ours"
            elif name not in MODELS_OWN_TEXT and not (name == "name" and "arguments" in value):
                yield from _of_value(f"{where}.{name}", child)
        yield from _of_fixed(where, value)
    elif isinstance(value, list):
        for child in value:
            yield from _of_value(where, child)
    elif isinstance(value, str):
        yield from _of_text(where, value)


def _of_fixed(where: str, value: dict[str, Any]) -> Iterator[str]:
    """Fields with one known form, in an object of any kind."""
    kind = value.get("object")
    if kind is not None and kind not in OBJECTS:
        yield f"{where}.object: {kind}"
    if value.get("owned_by", "llmdeal") != "llmdeal":
        yield f"{where}.owned_by: {value['owned_by']}"
    if "model" in value and not _may_be_named(value["model"]):
        yield f"{where}.model: {value['model']}"
    if "id" in value:
        form = r"call_[0-9A-Za-z]{24}" if "function" in value else r"chatcmpl-[0-9a-f]{24}"
        if not _may_be_named(value["id"]) and not re.fullmatch(form, str(value["id"])):
            yield f"{where}.id: {value['id']}"


def _may_be_named(name: Any) -> bool:
    """Whether it is a published name, or one of an account's own."""
    return name in PUBLISHED or re.fullmatch(OWN_ALIAS, str(name)) is not None


def _of_text(where: str, text: str) -> Iterator[str]:
    rest = _PUBLISHED_IN_TEXT.sub("…", CALLERS_OWN_TEXT.sub("…", text))
    for pattern in (DENIED, _UPSTREAM_MODELS):
        found = pattern.search(rest)
        if found:
            yield f"{where}: '{found[0]}' in {rest[max(0, found.start() - 40) : found.end() + 40]!r}"


def assert_concealed(shown: Shown) -> None:
    """Fail on anything that a caller must not see."""
    found = leaks(shown)
    assert not found, "\n".join(["an answer shows what it must not:", *found])


class _Watched(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that is checked once it has been read, or as much of it as was read."""

    def __init__(self, inner: Any, check: Callable[[bytes], None]) -> None:
        self._inner = inner
        self._check: Callable[[bytes], None] | None = check
        self._pieces: list[bytes] = []

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._inner:
            self._pieces.append(piece)
            yield piece
        self._ended()

    async def __aiter__(self) -> Any:
        async for piece in self._inner:
            self._pieces.append(piece)
            yield piece
        self._ended()

    def close(self) -> None:
        self._inner.close()
        self._ended()

    async def aclose(self) -> None:
        await self._inner.aclose()
        self._ended()

    def _ended(self) -> None:
        check, self._check = self._check, None
        if check is not None:
            check(b"".join(self._pieces))


def watch(response: httpx.Response) -> None:
    """A response hook for an httpx client: every answer is checked when its body has been read."""
    headers = tuple((name.decode().lower(), value.decode("latin-1")) for name, value in response.headers.raw)
    response.stream = _Watched(
        response.stream,
        lambda body: assert_concealed(Shown(response.status_code, response.reason_phrase, headers, body)),
    )


async def watch_async(response: httpx.Response) -> None:
    """As `watch`, for an asynchronous client."""
    watch(response)

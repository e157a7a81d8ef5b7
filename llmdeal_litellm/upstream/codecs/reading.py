"""Reading upstreams' JSON on any wire. What is not what it should be is a BrokenAnswer."""

import json
import re
from collections.abc import Callable

import orjson

from llmdeal_litellm.policy.strict_json import Json
from llmdeal_litellm.policy.usage import Claim
from llmdeal_litellm.upstream.failures import BrokenAnswer

TOOL_CALLS_MAX = 256
FLOAT32_MAX = 3.4028234663852886e38
LONE_SURROGATE = re.compile("[\ud800-\udfff]")

Fields = dict[str, Json]
ToolName = Callable[[str], str]
"""The caller's name of what the wire calls a tool."""


def read_json(body: bytes) -> Fields:
    """One JSON object. Raises BrokenAnswer. Lone surrogates become U+FFFD instead of losing the answer."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = _with_surrogates(body)
    if not isinstance(found, dict):
        raise BrokenAnswer("not a JSON object")
    return found


def _with_surrogates(body: bytes) -> object:
    if b"\\ud" not in body.lower():
        raise BrokenAnswer("not JSON")
    try:
        repaired = json.dumps(json.loads(body), ensure_ascii=False)
        return orjson.loads(LONE_SURROGATE.sub("\ufffd", repaired))
    except (ValueError, RecursionError):
        raise BrokenAnswer("not JSON") from None


def json_text(value: Json) -> str:
    """A value as JSON text. Raises BrokenAnswer when it is nested too deeply to be written."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        raise BrokenAnswer("tool arguments nested too deeply") from None


def text(value: Json) -> str:
    """A string as it is, and nothing for anything else."""
    return value if isinstance(value, str) else ""


def objects(value: Json) -> list[Fields]:
    """The objects of a list, in their order, and nothing for anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def ending(reason: str, *, called: bool) -> str:
    """The finish reason of an answer with or without calls: it calls when there are calls, and only then."""
    if called:
        return "tool_calls" if reason == "stop" else reason
    return "stop" if reason == "tool_calls" else reason


def claim_or_none(claim: Claim) -> Claim | None:
    """A claim with a count in it, or with nonsense; an empty one must not replace what came before."""
    return None if claim.input is None and claim.output is None and not claim.absurd else claim


def numbers(value: Json) -> list[float]:
    """A vector. Raises BrokenAnswer for anything that does not fit a float32."""
    if isinstance(value, list) and value:
        numbers = [
            x
            for x in value
            if isinstance(x, float | int) and not isinstance(x, bool) and -FLOAT32_MAX <= x <= FLOAT32_MAX
        ]
        if len(numbers) == len(value):
            return numbers
    raise BrokenAnswer("a vector that is not numbers")

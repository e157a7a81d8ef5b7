"""Tool names and tool call ids in the forms that wires take. What a wire takes as it is stays as it is."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from llmdeal_litellm.policy.answer import base62
from llmdeal_litellm.policy.strict_json import Json, JsonObject
from llmdeal_litellm.upstream.codecs.parameters import Parameters

DIGEST_CHARS = 8
PLAIN_ID = re.compile(r"[a-zA-Z0-9_-]{1,40}")
"""Forty characters are the most that OpenAI itself takes."""


def plain_id(given: str) -> str:
    """A tool call id of letters, digits, `_` and `-`: the given one, or the same other one each time."""
    if PLAIN_ID.fullmatch(given):
        return given
    return "call_" + base62(hashlib.sha256(given.encode()).digest(), 24)


@dataclass(slots=True)
class ToolNames:
    """The names of one request's tools on one wire, and back.

    `taken` is what the wire takes; another name gets its odd characters replaced, its end cut and a digest of
    the whole, so that two names stay two and the same name is the same in every request.
    """

    taken: re.Pattern[str]
    length_max: int
    _back: dict[str, str] = field(default_factory=dict)

    def there(self, name: str) -> str:
        """The name as the wire takes it."""
        if self.taken.fullmatch(name):
            return name
        digest = base62(hashlib.sha256(name.encode()).digest(), DIGEST_CHARS)
        readable = re.sub(r"[^a-zA-Z0-9_]", "_", name)[: self.length_max - DIGEST_CHARS - 2]
        found = f"_{readable}_{digest}"
        self._back[found] = name
        return found

    def back(self, name: str) -> str:
        """The caller's name of what the wire calls `name`."""
        return self._back.get(name, name)

    def rename(self, parameters: Parameters) -> None:
        """Put the wire's names into `tools` and `tool_choice`, in OpenAI's shapes."""
        tools, choice = parameters.get("tools"), parameters.get("tool_choice")
        if isinstance(tools, list):
            parameters["tools"] = [self._renamed(tool) for tool in tools]
        if isinstance(choice, dict):
            parameters["tool_choice"] = self._renamed(choice)

    def _renamed(self, tool: JsonObject) -> JsonObject:
        function = tool["function"]
        assert isinstance(function, dict)
        return {**tool, "function": {**function, "name": self.there(str(function["name"]))}}


def declared(names: Iterable[str]) -> list[Json]:
    """Tools of these names that take anything, for a history with calls of tools no longer offered."""
    return [
        {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in names
    ]

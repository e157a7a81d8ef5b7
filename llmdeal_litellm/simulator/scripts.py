"""Scripted behaviours: what a test tells the simulator to do with its next answers."""

from dataclasses import dataclass
from typing import Any

from llmdeal_litellm.simulator.providers import PROVIDERS

BEHAVIOURS = frozenset(
    {
        "usage",
        "usage_everywhere",
        "no_usage",
        "cut",
        "clean_end",
        "empty",
        "status",
        "hang",
        "slow",
        "length",
        "html",
        "error_200",
        "canary_everywhere",
    }
)
SCRIPTS_MAX = 100
HEADERS_MAX = 50
DELAY_MS_MAX = 120_000
HANG_S = 120.0
DEFAULT_AFTER_CHUNKS = 4
"""Events a scripted cut lets through: the role and three pieces of content."""


class BadScript(ValueError):
    """A script that cannot be followed; the text says why."""


@dataclass(kw_only=True)
class Script:
    """One instruction; counts itself down."""

    behaviour: str
    provider: str = "*"
    endpoint: str | None = None
    model: str | None = None
    times: int | None = None
    usage: Any = None
    status: int = 500
    headers: tuple[tuple[str, str], ...] = ()
    delay_ms: int = 50
    after_chunks: int | None = None

    def fits(self, provider: str, endpoint: str, model: str) -> bool:
        if self.times is not None and self.times <= 0:
            return False
        return (
            self.provider in ("*", provider)
            and self.endpoint in (None, endpoint)
            and (self.model is None or self.model in model)
        )


class Scripts:
    """The instructions in force, oldest first; the first that fits is followed."""

    def __init__(self) -> None:
        self._scripts: list[Script] = []

    def add(self, given: dict[str, Any]) -> None:
        if len(self._scripts) >= SCRIPTS_MAX:
            raise BadScript(f"at most {SCRIPTS_MAX} scripts")
        self._scripts.append(_parsed(given))

    def clear(self) -> None:
        self._scripts.clear()

    def left(self) -> list[dict[str, Any]]:
        return [{"provider": s.provider, "behaviour": s.behaviour, "times": s.times} for s in self._scripts]

    def take(self, provider: str, endpoint: str, model: str) -> Script | None:
        """The script for this answer, its count lowered; used-up scripts are dropped."""
        found = next((s for s in self._scripts if s.fits(provider, endpoint, model)), None)
        if found is not None and found.times is not None:
            found.times -= 1
            self._scripts = [s for s in self._scripts if s.times is None or s.times > 0]
        return found


_FIELDS = frozenset(
    {
        "behaviour",
        "provider",
        "endpoint",
        "model",
        "times",
        "usage",
        "status",
        "headers",
        "delay_ms",
        "after_chunks",
    }
)


def _parsed(given: dict[str, Any]) -> Script:
    unknown = sorted(set(given) - _FIELDS)
    if unknown:
        raise BadScript(f"unknown field {unknown[0]!r}")
    if given.get("behaviour") not in BEHAVIOURS:
        raise BadScript(f"behaviour must be one of {', '.join(sorted(BEHAVIOURS))}")
    provider = given.get("provider", "*")
    if provider != "*" and provider not in PROVIDERS:
        raise BadScript(f"unknown provider {provider!r}")
    if given.get("endpoint") not in (None, "chat", "embeddings"):
        raise BadScript("endpoint must be chat, embeddings or null")
    after = given.get("after_chunks")
    return Script(
        behaviour=given["behaviour"],
        provider=provider,
        endpoint=given.get("endpoint"),
        model=given.get("model"),
        times=None if given.get("times") is None else _number(given, "times", 1, 10**9, 1),
        usage=given.get("usage"),
        status=_number(given, "status", 300, 599, 500),
        headers=_headers(given.get("headers")),
        delay_ms=_number(given, "delay_ms", 0, DELAY_MS_MAX, 50),
        after_chunks=None if after is None else _number(given, "after_chunks", 0, 10**6, 0),
    )


def _number(given: dict[str, Any], name: str, least: int, most: int, default: int) -> int:
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadScript(f"{name} must be an integer from {least} to {most}")
    return value


def _headers(value: Any) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    pairs = list(value.items()) if isinstance(value, dict) else value
    if not isinstance(pairs, list) or len(pairs) > HEADERS_MAX:
        raise BadScript(f"headers must be an object or at most {HEADERS_MAX} pairs")
    return tuple((str(name), str(text)) for name, text in pairs)

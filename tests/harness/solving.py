"""A model that answers canaries right, for machines that play an honest one. It knows their phrases."""

import re
from collections.abc import Callable, Mapping

import orjson

from llmdeal_litellm.policy.canaries import AsJson, HowMany, InOrder, Replaced, Where, Whose

Said = Mapping[str, str]
FACT = re.compile(r"(\w+) left the \w+ (\w+) in the (\w+)\.")
FIELD = re.compile(r"\\\{(\w+)\\\}")


def _pattern(phrase: str) -> re.Pattern[str]:
    """What a phrase looks like once its fields are filled in."""
    seen: set[str] = set()

    def group(found: re.Match[str]) -> str:
        name = found[1]
        if name in seen:
            return f"(?P={name})"
        seen.add(name)
        return f"(?P<{name}>.*?)" if name in ("notes", "things") else rf"(?P<{name}>\w+)"

    return re.compile(FIELD.sub(group, re.escape(phrase)), re.DOTALL)


def _whose(said: Said) -> str:
    return next(name for name, thing, _ in FACT.findall(said["notes"]) if thing == said["thing"])


def _where(said: Said) -> str:
    return next(place for name, _, place in FACT.findall(said["notes"]) if name == said["name"])


def _how_many(said: Said) -> str:
    return str(int(said["had"]) - int(said["gave"]) + int(said["got"]))


def _in_order(said: Said) -> str:
    return ", ".join(sorted(said["things"].split(", ")))


def _as_json(said: Said) -> str:
    return orjson.dumps({"name": said["name"], "age": int(said["age"]), "city": said["city"]}).decode()


def _replaced(said: Said) -> str:
    return re.sub(rf"\b{said['name']}\b", said["into"], said["notes"])


SOLVERS: tuple[tuple[type, Callable[[Said], str]], ...] = (
    (Whose, _whose),
    (Where, _where),
    (HowMany, _how_many),
    (InOrder, _in_order),
    (AsJson, _as_json),
    (Replaced, _replaced),
)
KNOWN = [(_pattern(p), solve) for kind, solve in SOLVERS for p in kind.PHRASES]  # type: ignore[attr-defined]


def solution(prompt: str) -> str | None:
    """The answer to a canary, or None for any other prompt."""
    for pattern, solve in KNOWN:
        found = pattern.fullmatch(prompt)
        if found is not None:
            return solve(found.groupdict())
    return None

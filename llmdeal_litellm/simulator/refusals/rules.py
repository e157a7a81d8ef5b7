"""The vocabulary of the refusal tables: a row, its answer, and the predicates that rows are made of."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from llmdeal_litellm.simulator import errors
from llmdeal_litellm.simulator.answers import text_of

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Hit:
    """What a row matched: the values its message is written from."""

    field: str = ""
    value: Any = None
    where: str = ""
    """Dotted path of the message, tool or item it was found in."""
    role: str = ""
    index: int = 0
    found: tuple[tuple[tuple[str | int, ...], Any], ...] = ()
    """(path, value) of every offending field, for providers that list them all."""


ABSENT = object()
"""In an example: the field is not there."""

When = Callable[[Json], Hit | None]
Render = Callable[["Refusal", Hit, str], errors.Failure]


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """One thing one provider refuses. `message` is a format string over Hit's fields and `model`."""

    name: str
    when: When
    message: str
    source: str
    """The provider's documentation page, or where its answer was seen."""
    examples: tuple[Json, ...]
    """Request fields that, put over a plain request, make the provider refuse it with this row; ABSENT
    takes one away."""
    status: int = 400
    kind: str | None = None
    code: str | None = None
    param: str | None = None
    endpoint: str = "chat"
    sure: bool = True
    """False where documentation and reports leave it open and the nastier reading was taken."""
    render: Render | None = None


def answer(provider: str, row: Refusal, hit: Hit, model: str) -> errors.Failure:
    """The refusal in the provider's shape."""
    message = row.message.format(
        field=hit.field, value=hit.value, where=hit.where, role=hit.role, index=hit.index, model=model
    )
    if row.render is not None:
        return row.render(row, hit, message)
    param = row.param.format(field=hit.field, where=hit.where) if row.param else None
    return errors.failure(provider, row.status, message, kind=row.kind, code=row.code, param=param)


def given(*names: str) -> When:
    """One of these fields is there and not null."""

    def when(body: Json) -> Hit | None:
        return next((Hit(field=n, value=body[n]) for n in names if body.get(n) is not None), None)

    return when


def unknown(allowed: frozenset[str]) -> When:
    """A field outside the list is there, null or not."""

    def when(body: Json) -> Hit | None:
        extra = [name for name in body if name not in allowed]
        if not extra:
            return None
        found = tuple(((name,), body[name]) for name in extra)
        return Hit(field=extra[0], value=body[extra[0]], found=found)

    return when


def value_of(name: str, test: Callable[[Any], bool]) -> When:
    """The field is there, not null, and its value fails the provider's test."""

    def when(body: Json) -> Hit | None:
        value = body.get(name)
        return Hit(field=name, value=value) if value is not None and test(value) else None

    return when


def model(pattern: str, *, but: str = r"(?!)") -> When:
    """The model's name matches."""
    yes, no = re.compile(pattern), re.compile(but)

    def when(body: Json) -> Hit | None:
        name = str(body.get("model", ""))
        return Hit(field="model", value=name) if yes.search(name) and not no.search(name) else None

    return when


def every(first: When, *others: When) -> When:
    """All of them match; the first one's hit is told."""

    def when(body: Json) -> Hit | None:
        hit = first(body)
        return hit if hit is not None and all(other(body) is not None for other in others) else None

    return when


def absent(name: str) -> When:
    """The field is not there, or null."""

    def when(body: Json) -> Hit | None:
        return Hit(field=name) if body.get(name) is None else None

    return when


def in_messages(test: Callable[[Json], tuple[str, Any] | None], *, join: str = "messages.{}") -> When:
    """A message has a fault: `test` names the field and its value."""

    def when(body: Json) -> Hit | None:
        for index, message in enumerate(body.get("messages") or ()):
            fault = test(message) if isinstance(message, dict) else None
            if fault is not None:
                field, value = fault
                role = str(message.get("role"))
                path = ("messages", index, role, field)
                return Hit(
                    field=field,
                    value=value,
                    where=join.format(index),
                    role=role,
                    index=index,
                    found=((path, value),),
                )
        return None

    return when


def role_is(*roles: str) -> Callable[[Json], tuple[str, Any] | None]:
    """Test of a message: it has one of these roles."""
    return lambda message: ("role", message["role"]) if message.get("role") in roles else None


def message_has(*fields: str) -> Callable[[Json], tuple[str, Any] | None]:
    """Test of a message: one of these fields is there and not null."""
    return lambda message: next(((f, message[f]) for f in fields if f in message), None)


def message_outside(allowed: frozenset[str]) -> Callable[[Json], tuple[str, Any] | None]:
    """Test of a message: it has a field outside the list."""
    return lambda message: next(((f, message[f]) for f in message if f not in allowed), None)


def image() -> Callable[[Json], tuple[str, Any] | None]:
    """An image part."""

    def test(message: Json) -> tuple[str, Any] | None:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and part.get("type") == "image_url":
                shown = part.get("image_url")
                return "content", str(shown.get("url") if isinstance(shown, dict) else shown)
        return None

    return test


def tool_id_unlike(pattern: str) -> Callable[[Json], tuple[str, Any] | None]:
    """A tool call id, in a call or in a result, that the provider's pattern does not take."""
    form = re.compile(pattern)

    def test(message: Json) -> tuple[str, Any] | None:
        ids = [c.get("id") for c in message.get("tool_calls") or () if isinstance(c, dict)]
        if message.get("role") == "tool":
            ids.append(message.get("tool_call_id"))
        return next(
            (("tool_call_id", i) for i in ids if not isinstance(i, str) or not form.fullmatch(i)), None
        )

    return test


def response_format(*kinds: str) -> When:
    """`response_format` is of one of these types."""

    def when(body: Json) -> Hit | None:
        wanted = body.get("response_format")
        kind = wanted.get("type") if isinstance(wanted, dict) else None
        return Hit(field="response_format", value=kind) if kind in kinds else None

    return when


def no_word_json(body: Json) -> Hit | None:
    """JSON mode without the word `json` in any message."""
    said = " ".join(text_of(m.get("content")) for m in body.get("messages") or () if isinstance(m, dict))
    return None if "json" in said.lower() else Hit(field="messages")


def orphan_tool_result(body: Json) -> Hit | None:
    """A tool message whose id no earlier assistant message called."""
    called: set[Any] = set()
    for index, message in enumerate(m for m in body.get("messages") or () if isinstance(m, dict)):
        called |= {c.get("id") for c in message.get("tool_calls") or () if isinstance(c, dict)}
        if message.get("role") == "tool" and message.get("tool_call_id") not in called:
            return Hit(
                field="messages",
                value=message.get("tool_call_id"),
                where=f"messages.[{index}].role",
                index=index,
            )
    return None


def unanswered_call(body: Json) -> Hit | None:
    """An assistant's tool call without a tool message directly behind it."""
    messages = [m for m in body.get("messages") or () if isinstance(m, dict)]
    for index, message in enumerate(messages):
        wanted = {c.get("id") for c in message.get("tool_calls") or () if isinstance(c, dict)}
        for later in messages[index + 1 :]:
            if later.get("role") != "tool":
                break
            wanted.discard(later.get("tool_call_id"))
        if wanted:
            return Hit(field="messages", value=", ".join(sorted(map(str, wanted))), index=index)
    return None


def open_object(body: Json) -> Hit | None:
    """A strict schema with an object that does not close itself with `additionalProperties: false`."""
    wanted = body.get("response_format")
    schema = wanted.get("json_schema") if isinstance(wanted, dict) else None
    if not isinstance(schema, dict) or schema.get("strict") is not True:
        return None
    hit = _open(schema.get("schema"), 0)
    return replace(hit, where=str(schema.get("name", "response"))) if hit else None


def _open(schema: Any, depth: int) -> Hit | None:
    if depth > 32:
        return None
    if isinstance(schema, list):
        return next((hit for hit in (_open(item, depth + 1) for item in schema) if hit), None)
    if not isinstance(schema, dict):
        return None
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        return Hit(field="response_format")
    return next((hit for hit in (_open(value, depth + 1) for value in schema.values()) if hit), None)


def limit_over(ceiling: Callable[[str], int | None]) -> When:
    """An output limit above the model's ceiling."""

    def when(body: Json) -> Hit | None:
        most = ceiling(str(body.get("model", "")))
        for name in ("max_completion_tokens", "max_tokens"):
            value = body.get(name)
            if most is not None and isinstance(value, int) and value > most:
                return Hit(field=name, value=value, index=most)
        return None

    return when


def long_list(name: str, most: int) -> When:
    """A list with more than `most` items."""

    def when(body: Json) -> Hit | None:
        value = body.get(name)
        over = isinstance(value, list) and len(value) > most
        return (
            Hit(field=name, value=len(value) if isinstance(value, list) else 0, index=most) if over else None
        )

    return when


TOOL: Json = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}},
}
"""A tool for examples."""
CALLED: Json = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {
            "id": "call_000000000000000000000000",
            "type": "function",
            "function": {"name": "get_weather", "arguments": "{}"},
        }
    ],
}
USER: Json = {"role": "user", "content": "Hello"}
SCHEMA: Json = {
    "type": "json_schema",
    "json_schema": {
        "name": "answer",
        "schema": {
            "type": "object",
            "properties": {"a": {"type": "string"}},
            "required": ["a"],
            "additionalProperties": False,
        },
    },
}
OPEN_SCHEMA: Json = {
    "type": "json_schema",
    "json_schema": {
        "name": "answer",
        "strict": True,
        "schema": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
    },
}
PICTURE: Json = {
    "role": "user",
    "content": [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    ],
}

"""The shape of a Messages request: which fields each object has, which it needs, and what type they are.

Source: platform.claude.com/docs/en/api/messages. The API forbids fields it does not know, at every level, and
takes null only where the reference says so. Beta fields are left out: no header here switches them on.

A kind is the name of a scalar, an object or a tagged union; `[kind]` is a list of it, `a|b` one or the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
Path = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that does not fit. `sort` is `extra`, `missing`, `type` or `tag`."""

    sort: str
    path: Path
    value: Any
    """What stands there; what should stand there for `type`; the tags for `tag`."""

    @property
    def where(self) -> str:
        """The path with dots."""
        return ".".join(map(str, self.path))


_OBJECTS: dict[str, dict[str, str]] = {
    "request": {
        "model!": "string",
        "messages!": "[message]",
        "max_tokens!": "integer",
        "system": "string|[system block]",
        "metadata": "metadata",
        "stop_sequences": "[string]",
        "stream": "boolean",
        "temperature": "number",
        "top_p": "number",
        "top_k": "integer",
        "tools": "[tool]",
        "tool_choice": "tool choice",
        "thinking": "thinking",
        "service_tier": "string",
        "output_config": "output config",
        "output_format": "format",
        "cache_control": "null|cache control",
        "inference_geo": "null|string",
    },
    "message": {"role!": "string", "content!": "string|[block]"},
    "metadata": {"user_id": "null|string"},
    "cache control": {"type!": "string", "ttl": "string"},
    "output config": {"effort": "null|string", "format": "null|format"},
    "format": {"type!": "string", "schema!": "dictionary"},
    "text": {"text!": "string", "citations": "null|[dictionary]"},
    "image": {"source!": "source"},
    "document": {
        "source!": "dictionary",
        "title": "null|string",
        "context": "null|string",
        "citations": "null|dictionary",
    },
    "tool use": {"id!": "string", "name!": "string", "input!": "dictionary"},
    "tool result": {"tool_use_id!": "string", "content": "string|[result block]", "is_error": "boolean"},
    "thinking block": {"thinking!": "string", "signature!": "string"},
    "redacted": {"data!": "string"},
    "base64": {"media_type!": "string", "data!": "string"},
    "url": {"url!": "string"},
    "custom": {
        "name!": "string",
        "input_schema!": "dictionary",
        "description": "string",
        "strict": "boolean",
    },
    "choice": {"disable_parallel_tool_use": "boolean"},
    "choice of one": {"name!": "string", "disable_parallel_tool_use": "boolean"},
    "budget": {"budget_tokens!": "integer", "display": "null|string"},
    "adaptive": {"display": "null|string"},
    "nothing": {},
}
"""Fields by object; `!` marks those that must be there."""
_UNIONS: dict[str, dict[str, str]] = {
    "block": {
        "text": "text",
        "image": "image",
        "document": "document",
        "tool_use": "tool use",
        "tool_result": "tool result",
        "thinking": "thinking block",
        "redacted_thinking": "redacted",
    },
    "system block": {"text": "text"},
    "result block": {"text": "text", "image": "image", "document": "document"},
    "source": {"base64": "base64", "url": "url"},
    "tool": {"custom": "custom"},
    "tool choice": {"auto": "choice", "any": "choice", "tool": "choice of one", "none": "nothing"},
    "thinking": {"enabled": "budget", "adaptive": "adaptive", "disabled": "nothing"},
}
"""Objects by their `type`."""
_CACHED = frozenset({"block", "system block", "result block", "tool"})
"""Unions whose members may carry `cache_control`; thinking may not."""
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "dictionary": (dict,),
    "null": (type(None),),
}


def faults(body: Json) -> Iterator[Fault]:
    """Everything in a request that does not fit."""
    return _faults(body, "request", ())


def _faults(value: Any, kind: str, path: Path) -> Iterator[Fault]:
    if "|" in kind:
        fitting = next((one for one in kind.split("|") if _fits(value, one)), None)
        # Where nothing fits, the last alternative is the one that is missed.
        yield from _faults(value, fitting or kind.split("|")[-1], path)
    elif not _fits(value, kind):
        yield Fault(sort="type", path=path, value=_shown(kind))
    elif kind.startswith("["):
        for number, one in enumerate(value):
            yield from _faults(one, kind[1:-1], (*path, number))
    elif kind in _UNIONS:
        yield from _tagged(value, kind, path)
    elif kind in _OBJECTS:
        yield from _object(value, _OBJECTS[kind], path)


def _tagged(value: Json, kind: str, path: Path) -> Iterator[Fault]:
    members = _UNIONS[kind]
    tag = value.get("type", "custom" if kind == "tool" else None)
    if tag is None:
        yield Fault(sort="missing", path=(*path, "type"), value=None)
    elif not isinstance(tag, str) or tag not in members:
        yield Fault(sort="tag", path=path, value=(tag, ", ".join(f"'{one}'" for one in members)))
    else:
        fields = _OBJECTS[members[tag]] | {"type": "string"}
        if kind in _CACHED and "thinking" not in tag:
            fields |= {"cache_control": "null|cache control"}
        yield from _object(value, fields, (*path, tag))


def _object(value: Json, fields: dict[str, str], path: Path) -> Iterator[Fault]:
    kinds = {name.rstrip("!"): kind for name, kind in fields.items()}
    for name, kind in fields.items():
        if name.endswith("!") and name[:-1] not in value:
            yield Fault(sort="missing", path=(*path, name[:-1]), value=kind)
    for name, one in value.items():
        if name in kinds:
            yield from _faults(one, kinds[name], (*path, name))
        else:
            yield Fault(sort="extra", path=(*path, name), value=one)


def _fits(value: Any, kind: str) -> bool:
    if kind.startswith("["):
        return isinstance(value, list)
    wanted = _TYPES.get(kind, (dict,))
    return isinstance(value, wanted) and (not isinstance(value, bool) or bool in wanted)


def _shown(kind: str) -> str:
    return "list" if kind.startswith("[") else kind if kind in _TYPES else "dictionary"

"""Walking a JSON schema: every schema inside it, and whether it refers to itself."""

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

_NAMED = ("properties", "$defs", "definitions", "patternProperties")
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "not")
DEPTH_MAX = 64


def subschemas(schema: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Json]]:
    """(path, schema) of the schema itself and of all below it, outermost first; a property is no schema."""
    if not isinstance(schema, dict) or len(path) > DEPTH_MAX:
        return
    yield path, schema
    for key in _NAMED:
        named = schema.get(key)
        for name, one in named.items() if isinstance(named, dict) else ():
            yield from subschemas(one, (*path, key, name))
    for key in _LISTED:
        listed = schema.get(key)
        for number, one in enumerate(listed if isinstance(listed, list) else ()):
            yield from subschemas(one, (*path, key, number))
    for key in _SINGLE:
        yield from subschemas(schema.get(key), (*path, key))


def refers_to_itself(root: Json, schema: Any = None, seen: frozenset[str] = frozenset()) -> bool:
    """Whether following `$ref` inside the document ever comes back."""
    for _, one in subschemas(root if schema is None else schema):
        ref = one.get("$ref")
        if not isinstance(ref, str):
            continue
        if ref in seen or ref == "#":
            return True
        target: Any = root
        for part in ref.removeprefix("#/").split("/"):
            target = target.get(part) if isinstance(target, dict) else None
        if isinstance(target, dict) and refers_to_itself(root, target, seen | {ref}):
            return True
    return False

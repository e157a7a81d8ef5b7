"""How much a JSON schema grows when its references are replaced by what they refer to, as some maps do.

A few hundred bytes of definitions that refer to each other twice grow beyond any memory, so the growth is
measured before a map sees the schema. Pure.
"""

from collections.abc import Collection, Iterator

from llmdeal_litellm.policy.strict_json import Json

GROWTH_VALUES_MAX = 2_000
"""How many values the inlining of references may add to a schema. A map takes some 12 µs for each."""
DEFINITIONS = ("$defs", "definitions")


def grows_too_much(schema: Json) -> bool:
    """Whether inlining its references would add more than GROWTH_VALUES_MAX values to the schema.

    A reference within what it refers to adds nothing: it cannot be inlined.
    """
    definitions: dict[str, list[Json]] = {}
    for name, definition in _definitions(schema):
        definitions.setdefault(name, []).append(definition)
    left = GROWTH_VALUES_MAX if definitions else None
    inside: frozenset[str] = frozenset()
    waiting = [(schema, inside, False)]
    while waiting and left is not None:
        value, inside, added = waiting.pop()
        left -= added
        if left < 0:
            return True
        waiting += [(child, inside, added) for child in _children(value)]
        reference = value.get("$ref") if isinstance(value, dict) else None
        if isinstance(reference, str) and (name := reference.rpartition("/")[2]) not in inside:
            # Of several definitions of one name, in different places, any may be meant: all count.
            waiting += [(found, inside | {name}, True) for found in definitions.get(name, ())]
    return False


def _definitions(schema: Json) -> Iterator[tuple[str, Json]]:
    """Every named definition, wherever it stands."""
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for found in (value.get(name) for name in DEFINITIONS):
                yield from found.items() if isinstance(found, dict) else ()
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _children(value: Json) -> Collection[Json]:
    """What stands in a value, the definitions aside: they count where they are referred to."""
    if isinstance(value, dict):
        return [child for name, child in value.items() if name not in DEFINITIONS]
    return value if isinstance(value, list) else ()

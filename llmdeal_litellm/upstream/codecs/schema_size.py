"""How much a JSON schema grows when a map writes it in a provider's form.

Some maps replace references by what they refer to, write a value of several types once for each of them, and
put a text on each of the alternatives under it. A few hundred bytes that do so within each other grow beyond
any memory, so the growth is measured before a map sees the schema. Pure.
"""

from collections.abc import Collection, Iterator

from llmdeal_litellm.policy.strict_json import Json

GROWTH_MAX = 2_000
"""How many values may be added to a schema. A map takes some 12 µs for each."""
CHARS_A_VALUE = 64
"""So many characters of added text count as one value more."""
DEFINITIONS = ("$defs", "definitions")
REPEATED_TEXTS = ("title", "description")
COMPOUND_TYPES = ("object", "array")


def grows_too_much(schema: Json) -> bool:
    """Whether a map would add more than GROWTH_MAX values to the schema.

    A reference within what it refers to adds nothing: it cannot be inlined.
    """
    if schema is None:
        return False
    definitions: dict[str, list[Json]] = {}
    for name, definition in _definitions(schema):
        definitions.setdefault(name, []).append(definition)
    left = GROWTH_MAX
    inside: frozenset[str] = frozenset()
    # A value, the names it is inlined under, how often it will stand there, and how often it does already.
    waiting: list[tuple[Json, frozenset[str], int, int]] = [(schema, inside, 1, 1)]
    while waiting:
        value, inside, copies, given = waiting.pop()
        if copies > given:
            left -= (copies - given) * _size(value)
        if isinstance(value, dict):
            left -= copies * _repeated_text(value)
            copies *= _copies_of_inner(value)
        if left < 0:
            return True
        waiting += [(child, inside, copies, given) for child in _children(value)]
        reference = value.get("$ref") if isinstance(value, dict) else None
        if isinstance(reference, str) and (name := reference.rpartition("/")[2]) not in inside:
            # Of several definitions of one name, in different places, any may be meant: all count.
            waiting += [(found, inside | {name}, copies, 0) for found in definitions.get(name, ())]
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


def _size(value: Json) -> int:
    """A value without what stands in it, in values."""
    texts = value if isinstance(value, dict) else [value] if isinstance(value, str) else ()
    return 1 + sum(map(len, texts)) // CHARS_A_VALUE


def _repeated_text(value: dict[str, Json]) -> int:
    """The texts that are put on each alternative, in values."""
    alternatives = value.get("anyOf")
    if not isinstance(alternatives, list):
        return 0
    texts = (value.get(name) for name in REPEATED_TEXTS)
    chars = sum(len(text) for text in texts if isinstance(text, str))
    return chars * len(alternatives) // CHARS_A_VALUE


def _copies_of_inner(value: dict[str, Json]) -> int:
    """How often what stands in a value is written: once for each of its types that has something in it."""
    types = value.get("type")
    return max(1, sum(t in COMPOUND_TYPES for t in types)) if isinstance(types, list) else 1

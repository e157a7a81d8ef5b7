"""A deterministic instance of a JSON schema: what a model that obeys the schema could have answered.

Covers what tool and response schemas use: type (also a list), properties, required, enum, const, default,
items, prefixItems, $ref into $defs/definitions, anyOf/oneOf/allOf, bounds of numbers, strings and arrays,
and formats. Gemini writes types in capitals; either case will do.
"""

from typing import Any

DEPTH_MAX = 12
"""Deeper than this, optional parts are left out and required ones become null: recursive schemas end."""
ITEMS_MAX = 16

_FORMATS = {
    "date": "2025-01-01",
    "date-time": "2025-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "sim@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "hostname": "example.com",
}


def instance(schema: Any, *, word: str = "simulated") -> Any:
    """One value that fits `schema`; the same schema and word always give the same value."""
    root = schema if isinstance(schema, dict) else {}
    return _value(schema, root, word, 0)


def _value(schema: Any, root: dict[str, Any], word: str, depth: int) -> Any:
    if not isinstance(schema, dict):
        return word
    if depth > DEPTH_MAX:
        return None
    schema = _resolved(schema, root)
    if "const" in schema:
        return schema["const"]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    for key in ("anyOf", "oneOf"):
        options = schema.get(key)
        if isinstance(options, list) and options:
            return _value(_first_not_null(options, root), root, word, depth + 1)
    if isinstance(schema.get("allOf"), list):
        schema = _merged(schema, root)
    return _typed(schema, root, word, depth)


def _typed(schema: dict[str, Any], root: dict[str, Any], word: str, depth: int) -> Any:
    match _type_of(schema):
        case "object":
            return _object(schema, root, word, depth)
        case "array":
            return _array(schema, root, word, depth)
        case "integer":
            return _integer(schema)
        case "number":
            return _number(schema)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _string(schema, word)


def _type_of(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    if isinstance(kind, str):
        return kind.lower()
    if "properties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _object(schema: dict[str, Any], root: dict[str, Any], word: str, depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    required = schema.get("required")
    names = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
    # Past half the depth only what is required: a tree of optional children would grow exponentially.
    if depth <= DEPTH_MAX // 2:
        names += [name for name in properties if name not in names]
    return {name: _value(properties.get(name, {}), root, word, depth + 1) for name in names}


def _array(schema: dict[str, Any], root: dict[str, Any], word: str, depth: int) -> list[Any]:
    fixed = schema.get("prefixItems")
    if isinstance(fixed, list):
        return [_value(item, root, word, depth + 1) for item in fixed[:ITEMS_MAX]]
    least = schema.get("minItems")
    length = least if isinstance(least, int) and least > 0 else (1 if depth < DEPTH_MAX // 2 else 0)
    if isinstance(schema.get("maxItems"), int):
        length = min(length, schema["maxItems"])
    return [_value(schema.get("items", {}), root, word, depth + 1) for _ in range(min(length, ITEMS_MAX))]


def _integer(schema: dict[str, Any]) -> int:
    value = 7
    if isinstance(schema.get("minimum"), int | float):
        value = max(value, int(-(-schema["minimum"] // 1)))
    if isinstance(schema.get("exclusiveMinimum"), int | float):
        value = max(value, int(schema["exclusiveMinimum"] // 1) + 1)
    if isinstance(schema.get("maximum"), int | float):
        value = min(value, int(schema["maximum"] // 1))
    if isinstance(schema.get("exclusiveMaximum"), int | float):
        value = min(value, int(-(-schema["exclusiveMaximum"] // 1)) - 1)
    step = schema.get("multipleOf")
    if isinstance(step, int) and step > 0:
        value = value - value % step
    return value


def _number(schema: dict[str, Any]) -> float | int:
    value = 7.5
    for key in ("minimum", "exclusiveMinimum"):
        if isinstance(schema.get(key), int | float) and value <= schema[key]:
            value = schema[key] + 0.5
    for key in ("maximum", "exclusiveMaximum"):
        if isinstance(schema.get(key), int | float) and value >= schema[key]:
            value = schema[key] - (0.25 if key == "exclusiveMaximum" else 0)
    return value


def _string(schema: dict[str, Any], word: str) -> str:
    text = _FORMATS.get(str(schema.get("format")), word)
    least, most = schema.get("minLength"), schema.get("maxLength")
    if isinstance(least, int) and len(text) < min(least, 4096):
        text = (text * (least // max(len(text), 1) + 1))[:least]
    return text[:most] if isinstance(most, int) and most >= 0 else text


def _resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """Follow `$ref` inside the same document, a bounded number of times."""
    for _ in range(DEPTH_MAX):
        ref = schema.get("$ref")
        if not isinstance(ref, str) or not ref.startswith("#"):
            return schema
        target: Any = root
        for part in ref.lstrip("#").split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if name:
                target = target.get(name) if isinstance(target, dict) else None
        if not isinstance(target, dict):
            return {}
        schema = target
    return {}


def _first_not_null(options: list[Any], root: dict[str, Any]) -> Any:
    for option in options:
        if isinstance(option, dict) and str(_resolved(option, root).get("type")).lower() != "null":
            return option
    return options[0]


def _merged(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema["allOf"][:ITEMS_MAX]:
        if not isinstance(part, dict):
            continue
        for key, value in _resolved(part, root).items():
            if key == "properties" and isinstance(merged.get(key), dict) and isinstance(value, dict):
                merged[key] = {**merged[key], **value}
            elif key == "required" and isinstance(merged.get(key), list) and isinstance(value, list):
                merged[key] = [*merged[key], *value]
            else:
                merged[key] = value
    return merged

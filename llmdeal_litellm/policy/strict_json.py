"""One strict parse of a caller's body.

UTF-8 only, an object only, no key twice, no NaN or infinity, numbers within ±2^53, at most 64 levels,
no lone surrogates. Source: RFC 8259 read narrowly (I-JSON, RFC 7493).
"""

import jiter

from llmdeal_litellm.errors import InvalidRequest
from llmdeal_litellm.limits import JSON_DEPTH_MAX, JSON_NUMBER_MAX

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None
JsonObject = dict[str, Json]


def parse_object(body: bytes) -> JsonObject:
    """The body's object. Raises InvalidRequest with the reason."""
    try:
        value = jiter.from_json(body, allow_inf_nan=False, catch_duplicate_keys=True, cache_mode="keys")
    except ValueError as bad:
        raise InvalidRequest(
            f"The body is not valid JSON: {_reason(str(bad))}. Send one JSON object."
        ) from None
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be one JSON object.")
    _check(value)
    return value


def _reason(text: str) -> str:
    """jiter's own words, which quote a repeated key: keep what is safe to show."""
    return "an object has the same key twice" if text.startswith("Detected duplicate key") else text


def _check(value: Json) -> None:
    """Depth and number range, breadth first so that no recursion limit is met."""
    level: list[Json] = [value]
    for _ in range(JSON_DEPTH_MAX):
        deeper: list[Json] = []
        for item in level:
            for child in item.values() if isinstance(item, dict) else item:  # type: ignore[union-attr]
                # The parser makes no subclasses, and this is asked of each value of a body.
                kind = type(child)
                if kind is str:
                    continue
                if kind is dict or kind is list:
                    deeper.append(child)
                elif (kind is int or kind is float) and not -JSON_NUMBER_MAX <= child <= JSON_NUMBER_MAX:  # type: ignore[operator]
                    raise InvalidRequest(
                        "A number in the body is beyond ±2^53. Send it as a string or smaller."
                    )
        if not deeper:
            return
        level = deeper
    raise InvalidRequest(f"The body is nested deeper than {JSON_DEPTH_MAX} levels.")

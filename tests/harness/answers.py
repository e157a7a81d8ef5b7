"""What tests say about an answer: its headers by name, its refusal, its events, and that nothing happened."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from world import Customer, World

ALWAYS = frozenset("date server x-llmdeal-request-id cache-control content-type".split())
CORS = frozenset("access-control-allow-origin access-control-expose-headers".split())
SIZED = frozenset({"content-length"})
STREAMED = frozenset({"transfer-encoding"})
LIMIT_HEADERS = frozenset(
    f"x-ratelimit-{name}-{of}" for name in ("limit", "remaining", "reset") for of in ("requests", "tokens")
)
PLAIN_ANSWER = ALWAYS | CORS | SIZED | LIMIT_HEADERS
"""Names of the headers of a whole answer on a /v1 path, to somebody whose key is known."""
BEFORE_AUTHENTICATION = frozenset({"not_found", "method_not_allowed", "invalid_api_key"})
"""Codes of refusals that know no key, and therefore no limits."""

TYPES = {402: "insufficient_quota", 429: "rate_limit_error"}


def header_names(response: httpx.Response) -> list[str]:
    """The names of all headers as they came, sorted, repeated ones repeated."""
    return sorted(name.decode().lower() for name, _ in response.headers.raw)


def assert_refusal(
    response: httpx.Response, status: int, code: str, *, also: frozenset[str] = frozenset()
) -> str:
    """Assert a refusal to the letter: status, envelope, code, type and header names. Returns its message.

    `also` are headers beyond those of every answer on a /v1 path.
    """
    assert (response.status_code, error_of(response)["code"]) == (status, code), response.text
    expected = PLAIN_ANSWER - LIMIT_HEADERS if code in BEFORE_AUTHENTICATION else PLAIN_ANSWER
    assert header_names(response) == sorted(expected | also)
    assert response.headers["content-type"] == "application/json"
    assert error_of(response)["type"] == type_of(status)
    return str(error_of(response)["message"])


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error of an answer that is an envelope and nothing else."""
    body = response.json()
    assert list(body) == ["error"], body
    return checked_error(body["error"])


def checked_error(error: dict[str, Any]) -> dict[str, Any]:
    """An error object with exactly the three texts."""
    assert list(error) == ["code", "message", "type"], error
    assert all(isinstance(text, str) and text for text in error.values()), error
    return error


def type_of(status: int) -> str:
    """The `type` that belongs to a status."""
    return TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")


def events_of(text: str) -> list[Any]:
    """The events of a stream that consists of `data: …` and an empty line each; `[DONE]` as that text."""
    assert text.endswith("\n\n"), text[-200:]
    events = text.removesuffix("\n\n").split("\n\n")
    assert all(e.startswith("data: ") and "\n" not in e for e in events), text[:500]
    found = [e.removeprefix("data: ") for e in events]
    return [e if e == "[DONE]" else json.loads(e) for e in found]


def chunks_of(text: str) -> list[dict[str, Any]]:
    """The chunks of a stream that ended well."""
    *chunks, done = events_of(text)
    assert done == "[DONE]"
    return chunks


def content_of(chunks: list[dict[str, Any]]) -> str:
    """The text of a streamed answer."""
    return "".join(choice["delta"].get("content") or "" for c in chunks for choice in c.get("choices", ()))


@contextmanager
def untouched(world: World, customer: Customer) -> Iterator[None]:
    """Assert that what happens inside neither holds, charges nor reaches an upstream."""
    records, sent = world.records(customer), world.upstream_count()
    yield
    assert world.records(customer) == records
    assert world.upstream_count() == sent

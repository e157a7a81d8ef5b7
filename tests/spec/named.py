"""Requests that name an Idempotency-Key, as tests send them and look at what they cost."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from answers import LIMIT_HEADERS, PLAIN_ANSWER, SIZED, STREAMED, assert_refusal, header_names
from raw import RawCall
from wires import PINNED
from world import Customer, World

HEADER = "Idempotency-Key"
REPLAY = "x-llmdeal-idempotent-replay"
RETRY = frozenset({"retry-after"})
CHAT, EMBED = "/chat/completions", "/embeddings"

Body = dict[str, Any]


def chat(text: str = "Hello!", **fields: Any) -> Body:
    """A chat completion of one user message."""
    return {"model": PINNED, "messages": [{"role": "user", "content": text}], **fields}


def ask(
    world: World, customer: Customer, name: str, body: Body | None = None, path: str = CHAT
) -> httpx.Response:
    """Send a request under a name."""
    return world.post(path, chat() if body is None else body, customer, **{HEADER: name})


def call(world: World, customer: Customer, name: str, body: Body, path: str = CHAT) -> RawCall:
    """Send it on a socket of its own; the name is a line behind the key's."""
    return RawCall(f"{world.base_url}{path}", body, f"{customer.key}\r\n{HEADER}: {name}")


def reached(world: World, counter: str, **bounds: int) -> None:
    """Wait for a counter of the simulator."""
    found = world.control.get(f"/{counter}", params=bounds).json()
    assert found["reached"], found


@contextmanager
def held_back(world: World, customer: Customer, name: str, body: Body, path: str = CHAT) -> Iterator[RawCall]:
    """A named request that waits at its upstream while the block runs, unless the block lets it go on."""
    world.control.post("/barrier/close")
    running = call(world, customer, name, body, path)
    try:
        reached(world, "waiting", at_least=1)
        yield running
    finally:
        world.control.post("/barrier/open")


def ends(world: World, customer: Customer) -> list[dict[str, Any]]:
    """How the account's holds ended, once none is open."""
    world.settled(customer)
    return [r for r in world.records(customer) if r["kind"] in ("post", "void")]


def charged_once(world: World, customer: Customer) -> dict[str, Any]:
    """The account's only charge; what else was held was given back."""
    [charge] = [end for end in ends(world, customer) if end["kind"] == "post"]
    return charge


def assert_replay(again: httpx.Response, first: httpx.Response) -> None:
    """Assert that an answer is another one given again: its bytes under headers of its own."""
    assert (again.status_code, again.headers.get(REPLAY)) == (200, "true"), again.text
    assert again.content == first.content
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["x-llmdeal-request-id"] != first.headers["x-llmdeal-request-id"]
    assert REPLAY not in first.headers
    limit = {"x-llmdeal-output-limit"} & set(first.headers)
    sized = STREAMED if again.headers["content-type"] == "text/event-stream" else SIZED
    assert header_names(again) == sorted((PLAIN_ANSWER - SIZED) | sized | {REPLAY} | limit)
    assert set(again.headers) >= LIMIT_HEADERS


def assert_running(answer: httpx.Response) -> None:
    """Assert that an answer says that the first request still runs."""
    message = assert_refusal(answer, 409, "request_in_progress", also=RETRY)
    assert "Idempotency-Key" in message
    assert 1 <= int(answer.headers["retry-after"]) <= 60


def assert_conflict(answer: httpx.Response, *words: str) -> None:
    """Assert that a name cannot be used for this, in a sentence with these words."""
    message = assert_refusal(answer, 422, "idempotency_conflict")
    assert "Idempotency-Key" in message
    assert "new key" in message
    for word in words:
        assert word in message


def same_said_differently(body: Body) -> bytes:
    """The same JSON in another order, with other blanks and escapes."""

    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: turned(value[name]) for name in reversed(value)}
        return [turned(item) for item in value] if isinstance(value, list) else value

    text = json.dumps(turned(body), indent=3, ensure_ascii=True)
    return text.replace("Hello", "\\u0048ello").encode() + b"\n\n"

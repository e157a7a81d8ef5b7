"""Requests of which a part never comes."""

import asyncio

import jumping_clock
import pytest
from answers import checked_error
from place import Place
from processes import until
from rough import RoughCall, chat
from wire import wire

from llmdeal_litellm import limits
from llmdeal_litellm.errors import InvalidRequest
from llmdeal_litellm.seams.http import HttpExchange, Message

HEADERS = [(b"content-type", b"application/json")]
SCOPE = {"type": "http", "raw_path": b"/v1/chat/completions", "headers": HEADERS}
BEGINNINGS = {"nothing of the body": (), "a part of it": (b'{"model": ',), "all but its end": (b"{", b"}")}


@pytest.mark.parametrize("pieces", BEGINNINGS.values(), ids=BEGINNINGS)
def test_a_body_that_never_ends_is_a_400(pieces: tuple[bytes, ...]) -> None:
    """However much has come, and however it was framed: after half a minute the client is told."""
    coming = iter(pieces)

    async def receive() -> Message:
        for piece in coming:
            return {"type": "http.request", "body": piece, "more_body": True}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError(message)

    async def reads() -> None:
        with pytest.raises(InvalidRequest) as refused:
            await HttpExchange(dict(SCOPE), receive, send, "req_1", 60.0).read_json(limits.BODY_BYTES_MAX)
        assert refused.value.status == 400
        assert "in time" in checked_error(refused.value.envelope()["error"])["message"]

    assert jumping_clock.run(reads()) == pytest.approx(limits.BODY_READ_TIMEOUT_S, abs=1)


HALVES = {
    "headers alone": b"Content-Length: 500\r\n\r\n",
    "a body shorter than its length": b'Content-Length: 500\r\n\r\n{"model": "quick"',
    "chunks without an end": b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "half of a chunk": b"Transfer-Encoding: chunked\r\n\r\n50\r\nhello",
    "half of a chunk's size": b"Transfer-Encoding: chunked\r\n\r\n5",
}


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
def test_half_a_request_holds_nothing_while_it_waits(place: Place, half: bytes) -> None:
    """It has no hold and no upstream; others are served; when the client leaves, nothing is left of it."""
    seen = place.gateway.look().seen
    with wire(place.gateway.url) as connection:
        connection.send(_head(place.key) + half)
        until(lambda: place.gateway.look().seen == seen + 1, what="the request to begin")
        until(lambda: place.gateway.waits_in("HttpExchange.read_json"), what="it to wait for its body")
        assert place.gateway.open_holds() == 0
        assert RoughCall(place.url(), chat("say 2 words"), place.key).read_all().status == 200

    assert [end["rule"] for end in place.ends(1)] == ["completed"]


def test_leave_to_send_a_body_that_then_does_not_come(place: Place) -> None:
    """Expect: 100-continue is answered with 100; the client that leaves then has asked for nothing."""
    with wire(place.gateway.url) as connection:
        connection.send(_head(place.key) + b"Expect: 100-continue\r\nContent-Length: 500\r\n\r\n")
        assert connection.line() == b"HTTP/1.1 100 Continue\r\n"

    assert place.ends() == []


def test_a_refusal_needs_no_body(place: Place) -> None:
    """Who is refused by the key is told so in the place of the leave to send a body."""
    with wire(place.gateway.url) as connection:
        connection.send(_head("lld_" + "0" * 32) + b"Expect: 100-continue\r\nContent-Length: 500\r\n\r\n")
        assert connection.answer().status == 401


def _head(key: str) -> bytes:
    """The beginning of a chat completion, up to how its body is framed."""
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {key}\r\n"
        "Content-Type: application/json\r\n"
    ).encode()

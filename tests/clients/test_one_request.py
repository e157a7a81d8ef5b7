"""Bytes that two parsers could read in two ways: the gateway reads one request or none, never two, and
answers in its own envelope."""

import json
import re

import pytest
from answers import checked_error
from place import Place
from rough import chat
from wire import wire

HIDDEN = b"POST /v1/embeddings HTTP/1.1\r\nHost: g\r\nContent-Length: 0\r\n\r\n"
"""What a proxy in front might take for a part of the request before it."""
CHUNKED = b"Transfer-Encoding: chunked\r\n"
NO_REQUEST = {
    "a length and chunks, in this order": b"Content-Length: 4\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "chunks and a length, in this order": CHUNKED + b"Content-Length: 4\r\n\r\n0\r\n\r\n",
    "the same length twice": b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "two lengths": b"Content-Length: 2\r\nContent-Length: 60\r\n\r\n{}",
    "two lengths in one line": b"Content-Length: 2, 2\r\n\r\n{}",
    "a signed length": b"Content-Length: +2\r\n\r\n{}",
    "a length in hexadecimal": b"Content-Length: 0x2\r\n\r\n{}",
    "a length beyond 64 bits": b"Content-Length: 18446744073709551618\r\n\r\n{}",
    "chunks not as the last coding": b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunks twice": CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
    "a blank before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a tab before the colon": b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "a folded line": b"X-A: b\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare line feeds": b"X-A: b\nContent-Length: 2\n\n{}",
    "a bare carriage return": b"X-A: b\rContent-Length: 2\r\n\r\n{}",
    "a NUL in a value": b"X-A: b\0\r\nContent-Length: 2\r\n\r\n{}",
    "a NUL in a name": b"X-\0A: b\r\nContent-Length: 2\r\n\r\n{}",
}
ONE_REQUEST = {
    "letters for a chunk's size": CHUNKED + b"\r\nZZ\r\n{}\r\n0\r\n\r\n",
    "a negative chunk": CHUNKED + b"\r\n-2\r\n{}\r\n0\r\n\r\n",
    "a chunk size beyond 64 bits": CHUNKED + b"\r\n10000000000000002\r\n{}\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"\r\n1\r\n{}\r\n0\r\n\r\n",
    "line feeds between chunks": CHUNKED + b"\r\n2\n{}\n0\n\n",
    "a length in a trailer": CHUNKED + b"\r\n2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n",
    "an unknown coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a NUL in a chunk's size": CHUNKED + b"\r\n2\0\r\n{}\r\n0\r\n\r\n",
}
"""Bodies of which nothing can be read any more once the request has begun."""


def _begun(place: Place) -> bytes:
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {place.key}\r\n"
        "Content-Type: application/json\r\n"
    ).encode()


def _answers(place: Place, data: bytes) -> int:
    """Send it with a hidden request behind it; returns how many requests the application has seen.

    The answer is a 400 in the envelope, and the connection ends.
    """
    seen = place.gateway.look().seen
    with wire(place.gateway.url) as connection:
        connection.send(data + HIDDEN)
        shown = connection.answer()
        assert connection.rest() == b""
    assert shown.status == 400
    assert checked_error(json.loads(shown.body)["error"])["code"] == "invalid_request"
    assert place.ends() == []
    assert place.asked == 0
    return place.gateway.look().seen - seen


@pytest.mark.parametrize("rest", NO_REQUEST.values(), ids=NO_REQUEST)
def test_what_can_be_read_in_two_ways_is_no_request(place: Place, rest: bytes) -> None:
    """It is refused before anything behind the parser has seen it."""
    assert _answers(place, _begun(place) + rest) == 0


@pytest.mark.parametrize("rest", ONE_REQUEST.values(), ids=ONE_REQUEST)
def test_a_body_that_cannot_be_read_is_the_end(place: Place, rest: bytes) -> None:
    """The request has begun; it is refused, holds nothing, and nothing behind it is read."""
    assert _answers(place, _begun(place) + rest) <= 1


def test_extensions_of_chunks_and_trailers_are_read_past(place: Place) -> None:
    """They are allowed and mean nothing: each request is one, and is answered."""
    with wire(place.gateway.url) as connection:
        connection.send((_begun(place) + _chunked(b"X-A: b\r\n")) * 2)
        assert [connection.answer().status for _ in range(2)] == [200, 200]

    assert [end["rule"] for end in place.ends(2)] == ["completed"] * 2


def test_a_trailer_is_no_header(place: Place) -> None:
    """What stands behind a body has no say in who sent it: a key there lets nobody in or out."""
    key = f"Authorization: Bearer {place.key}\r\n".encode()
    without_key = _begun(place).replace(key, b"")
    with wire(place.gateway.url) as connection:
        connection.send(without_key + _chunked(key) + _begun(place) + _chunked(b"Authorization: x\r\n"))
        assert [connection.answer().status for _ in range(2)] == [401, 200]

    assert len(place.ends(1)) == 1


def _chunked(trailers: bytes) -> bytes:
    body = json.dumps(chat("say 2 words")).encode()
    return CHUNKED + b'\r\n%x;a="b;c"\r\n%b\r\n0\r\n%b\r\n' % (len(body), body, trailers)


def test_a_refusal_before_the_body_does_not_shift_the_next_request(place: Place) -> None:
    """A body that nobody wanted is read past, not read as a request."""
    wrong = b"POST /v1/nothing HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\n\r\n%b" % (len(HIDDEN), HIDDEN)
    seen = place.gateway.look().seen
    with wire(place.gateway.url) as connection:
        connection.send(wrong + wrong + b"GET /health/live HTTP/1.1\r\nHost: g\r\n\r\n")
        assert [connection.answer().status for _ in range(3)] == [404, 404, 200]
    assert place.gateway.look().seen == seen + 3


@pytest.mark.parametrize("line", [b"GET /health/live", b"GET /health/live HTTP/2.0", b"PRI * HTTP/2.0"])
def test_other_versions_end_the_connection(place: Place, line: bytes) -> None:
    """One answer in HTTP/1.1, then the end."""
    seen = place.gateway.look().seen
    with wire(place.gateway.url) as connection:
        connection.send(line + b"\r\n\r\n" + HIDDEN)
        connection.answer()
        assert not re.match(rb"HTTP/1.1 \d", connection.rest())
    assert place.gateway.look().seen <= seen + 1

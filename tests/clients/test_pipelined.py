"""Several requests sent at once on one connection: answered in order, each once, each billed once."""

import json
from contextlib import suppress
from typing import Any

import pytest
from answers import chunks_of
from place import Place
from processes import until
from rough import RoughCall, chat
from wire import wire

COUNT = 10


def request(place: Place, body: dict[str, Any], *more: str, version: str = "1.1", target: str = "") -> bytes:
    """A chat completion with these further header lines."""
    payload = json.dumps(body).encode()
    lines = [
        f"POST {target}/v1/chat/completions HTTP/{version}",
        "Host: g",
        f"Authorization: Bearer {place.key}",
        "Content-Type: application/json",
        f"Content-Length: {len(payload)}",
        *more,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + payload


def test_ten_at_once(place: Place) -> None:
    """Plain and streamed in turns, of as many words as their place: the answers stand in this order."""
    bodies = [chat(f"say {n + 1} words", stream=bool(n % 2)) for n in range(COUNT)]
    with wire(place.gateway.url) as connection:
        connection.send(b"".join(request(place, body) for body in bodies))
        shown = [connection.answer() for _ in bodies]

    for place_in_line, (body, one) in enumerate(zip(bodies, shown, strict=True)):
        text = one.body.decode()
        words = _streamed(text) if body["stream"] else json.loads(text)["choices"][0]["message"]["content"]
        assert len(words.split()) == place_in_line + 1
    ids = [dict(one.headers)["x-llmdeal-request-id"] for one in shown]
    ends = place.ends(COUNT)
    assert [end["request_id"] for end in ends] == ids
    assert {end["rule"] for end in ends} == {"completed"}
    assert place.asked == len(set(ids)) == COUNT


def _streamed(text: str) -> str:
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks_of(text) if c["choices"])


@pytest.mark.parametrize("resets", [False, True], ids=["closes", "resets"])
def test_leaving_in_the_first_of_two(place: Place, resets: bool) -> None:
    """The first ends as for any client that leaves; the second is not begun."""
    place.script("slow", delay_ms=20)
    call = _Sent(
        place, request(place, chat("say 400 words", stream=True)) + request(place, chat("say 1 words"))
    )
    call.read_events(3)
    if resets:
        call.reset()
    else:
        call.close()
    place.reached("hangups", at_least=1)

    end = place.only_end()
    assert (end["kind"], end["rule"]) == ("post", "caller_left")
    assert 0 < end["output_tokens"] < 400
    assert place.asked == 1


def test_leaving_in_the_first_of_two_plain_ones(place: Place) -> None:
    """The first is cancelled and billed as left, though a second one waits in the line; that is not begun."""
    place.control.post("/barrier/close")
    call = _Sent(place, request(place, chat("say 2 words")) * 2)
    place.reached("waiting", at_least=1)
    call.close()
    place.reached("hangups", at_least=1)
    place.control.post("/barrier/open")

    assert place.only_end()["rule"] == "caller_left"
    assert place.asked == 1


class _Sent(RoughCall):
    """A connection on which these bytes have been sent."""

    def __init__(self, place: Place, data: bytes) -> None:
        super().__init__(place.url(), {}, "", send_bytes=0)
        self._socket.sendall(data)


def test_an_absolute_target_is_the_same_request(place: Place) -> None:
    """Whatever host it names, it is answered here, once."""
    with wire(place.gateway.url) as connection:
        connection.send(request(place, chat("say 2 words"), target="http://elsewhere.invalid:81"))
        assert connection.answer().status == 200

    assert place.only_end()["rule"] == "completed"
    assert place.asked == 1


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_an_http_1_0_client_is_answered_once(place: Place, stream: bool) -> None:
    """The connection closes after the answer, also when a second request waits in it."""
    one = request(place, chat("say 2 words", stream=stream), version="1.0")
    with wire(place.gateway.url) as connection:
        connection.send(one * 2)
        assert connection.answer().status == 200
        assert connection.rest() == b""

    assert place.only_end()["rule"] == "completed"
    assert place.asked == 1


def test_leave_to_send_a_chat_completion(place: Place) -> None:
    """Expect: 100-continue: the body is sent after the 100, and the answer follows."""
    head, _, body = request(place, chat("say 2 words"), "Expect: 100-continue").partition(b"\r\n\r\n")
    with wire(place.gateway.url) as connection:
        connection.send(head + b"\r\n\r\n")
        assert connection.line() == b"HTTP/1.1 100 Continue\r\n"
        assert connection.line() == b"\r\n"
        connection.send(body)
        assert connection.answer().status == 200

    assert place.only_end()["rule"] == "completed"


UPGRADES = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")


def test_an_upgrade_is_ignored(place: Place) -> None:
    """The answer to a request without a body is that of the plain request."""
    fields = dict(line.split(": ", 1) for line in UPGRADES)
    with wire(place.gateway.url) as connection:
        assert connection.ask("GET", "/v1/models", fields).status == 401


def test_the_body_of_an_upgrade_is_no_request(place: Place) -> None:
    """The parser leaves the body of a request to upgrade unread. Whatever it says, and whenever it comes, it
    is not taken for another request."""
    hidden = request(place, chat("say 2 words"))
    head, _, _ = request(place, {}, *UPGRADES).partition(b"\r\n\r\n")
    seen = place.gateway.look().seen
    with wire(place.gateway.url) as connection:
        connection.send(head.replace(b"Content-Length: 2", b"Content-Length: %d" % len(hidden)) + b"\r\n\r\n")
        until(lambda: place.gateway.look().seen > seen, what="the request to begin")
        with suppress(ConnectionError):
            connection.send(hidden)
        assert connection.answer().status == 400
        assert connection.rest() == b""

    assert place.ends() == []
    assert place.gateway.look().seen == seen + 1

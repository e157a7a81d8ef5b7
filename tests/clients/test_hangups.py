"""A client that leaves at a named point: which rule ends its hold, what it pays, and that nothing runs on."""

import json
from collections.abc import Callable

import pytest
from counting import tokens_of
from place import Place, own_input
from processes import until
from rough import RoughCall, chat

TEXT = "say 40 words"
WORDS = 40
ROLE_EVENT = 1
"""The first event of this upstream's streams has no output."""
BODY = json.dumps(chat(TEXT))

Leave = Callable[[RoughCall], None]
LEAVES: dict[str, Leave] = {"closes": RoughCall.close, "resets": RoughCall.reset}
FORMS = {"plain": False, "streamed": True}

leaves = pytest.mark.parametrize("leave", LEAVES.values(), ids=LEAVES)
forms = pytest.mark.parametrize("stream", FORMS.values(), ids=FORMS)


@leaves
@pytest.mark.parametrize("unsent", [1, len(BODY) - 1, len(BODY), len(BODY) + 1])
def test_before_the_body_is_complete(place: Place, leave: Leave, unsent: int) -> None:
    """Without the last byte, the body, or the end of the head, nothing is held or sent."""
    size = len(_request(place)) - unsent
    leave(RoughCall(place.url(), chat(TEXT), place.key, send_bytes=size))

    assert place.ends() == []
    assert place.asked == 0


@leaves
@forms
def test_while_the_hold_is_being_opened(place: Place, leave: Leave, stream: bool) -> None:
    """The hold that was on its way into the ledger is given back, and nothing is sent."""
    with place.gateway.store_locked():
        call = place.call(TEXT, stream=stream)
        until(lambda: place.gateway.waits_in("open_hold"), what="the hold to be on its way")
        leave(call)
        until(lambda: not place.gateway.waits_in("open_hold"), what="the hang-up to be noticed")

    end = place.only_end()
    assert (end["kind"], end["rule"]) == ("void", "caller_left_before_dispatch")
    assert place.asked == 0


@leaves
@forms
def test_while_the_upstream_is_being_connected(place: Place, leave: Leave, stream: bool) -> None:
    """Nothing has been sent to the upstream yet, so nothing is owed."""
    call = place.call(TEXT, "unreachable", stream=stream)
    until(lambda: place.gateway.look().upstreams_busy, what="the connection to be under way")
    assert place.gateway.open_holds() == 1
    leave(call)

    end = place.only_end()
    assert (end["kind"], end["rule"]) == ("void", "caller_left_before_dispatch")


@leaves
@forms
def test_before_the_upstream_has_answered(place: Place, leave: Leave, stream: bool) -> None:
    """The upstream has the request: the input is owed, and the upstream's connection closes."""
    place.control.post("/barrier/close")
    call = place.call(TEXT, stream=stream)
    place.reached("waiting", at_least=1)
    leave(call)
    place.reached("hangups", at_least=1)

    end = place.only_end()
    assert (end["rule"], end["input_tokens"], end["output_tokens"]) == ("caller_left", own_input(TEXT), 0)


@leaves
def test_before_the_first_byte(place: Place, leave: Leave) -> None:
    """The upstream's stream has begun and nothing was in it: the input is owed."""
    place.script("hang", after_chunks=ROLE_EVENT)
    call = place.call(TEXT, stream=True)
    place.reached("open", at_least=1)
    assert call.has_received_nothing()
    leave(call)
    place.reached("hangups", at_least=1)

    end = place.only_end()
    assert (end["rule"], end["input_tokens"], end["output_tokens"]) == ("caller_left", own_input(TEXT), 0)


@leaves
@pytest.mark.parametrize("events", [1, 10])
def test_in_a_stream(place: Place, leave: Leave, events: int) -> None:
    """After the first and the tenth piece: input and exactly what was delivered."""
    place.script("hang", after_chunks=ROLE_EVENT + events)
    call = place.call(TEXT, stream=True).read_events(events)
    leave(call)
    place.reached("hangups", at_least=1)

    end = place.only_end()
    assert (end["rule"], end["input_tokens"]) == ("caller_left", own_input(TEXT))
    assert end["output_tokens"] == tokens_of(call.content) > 0


@leaves
def test_after_the_last_piece_of_a_stream(place: Place, leave: Leave) -> None:
    """All words are delivered and owed, by our own count: the upstream has not said that they are all."""
    place.script("hang", after_chunks=10_000)
    call = place.call(TEXT, stream=True).read_words(WORDS)
    leave(call)
    place.reached("hangups", at_least=1)

    end = place.only_end()
    assert (end["rule"], end["input_tokens"]) == ("caller_left", own_input(TEXT))
    assert end["output_tokens"] >= tokens_of(call.content) >= WORDS


@leaves
def test_between_the_usage_and_the_end_mark(place: Place, leave: Leave) -> None:
    """The answer was complete when the client left: it stays completed, at the usage that was shown."""
    call = place.call(TEXT, stream=True, stream_options={"include_usage": True})
    call.read_up_to(b'"usage":{').read_up_to(b"\n\n")
    leave(call)

    end = place.only_end()
    assert call.usage is not None
    assert end["rule"] == "completed"
    shown = (call.usage["prompt_tokens"], call.usage["completion_tokens"])
    assert (end["input_tokens"], end["output_tokens"]) == shown


@leaves
@forms
def test_after_an_answer_that_nobody_has_read(place: Place, leave: Leave, stream: bool) -> None:
    """Delivered into the client's connection is delivered."""
    call = place.call(TEXT, stream=stream)
    until(lambda: place.gateway.records()[-1]["kind"] == "post", what="the answer to be complete")
    leave(call)

    assert place.only_end()["rule"] == "completed"


@leaves
def test_while_a_plain_answer_is_being_received(place: Place, leave: Leave) -> None:
    """Half of the upstream's answer is here, and nothing of it can be shown: the input is owed."""
    call = place.call(TEXT, "half")
    place.reached("open", at_least=1)
    leave(call)
    place.reached("hangups", at_least=1)

    end = place.only_end()
    assert (end["rule"], end["input_tokens"], end["output_tokens"]) == ("caller_left", own_input(TEXT), 0)


@leaves
def test_in_the_middle_of_a_plain_answer(place: Place, leave: Leave) -> None:
    """A plain answer is written as one: who reads half of it has had it."""
    call = place.call(TEXT).read_up_to(b'"content":')
    leave(call)

    assert place.only_end()["rule"] == "completed"


@leaves
def test_while_a_slow_upstream_is_at_work_on_a_plain_answer(place: Place, leave: Leave) -> None:
    """The upstream is told to stop long before it would have answered."""
    place.script("slow", delay_ms=60_000)
    call = place.call(TEXT)
    place.reached("open", at_least=1)
    leave(call)
    place.reached("hangups", at_least=1)

    end = place.only_end()
    assert (end["rule"], end["input_tokens"], end["output_tokens"]) == ("caller_left", own_input(TEXT), 0)


@forms
def test_half_a_hangup_before_the_answer_is_a_hangup(place: Place, stream: bool) -> None:
    """A client that ends its sending side and waits gets the end of the connection: below ASGI this cannot be
    told from a client that is gone."""
    place.control.post("/barrier/close")
    call = place.call(TEXT, stream=stream)
    place.reached("waiting", at_least=1)
    call.half_close()
    place.reached("hangups", at_least=1)

    assert call.read_all().received == b""
    end = place.only_end()
    assert (end["rule"], end["input_tokens"], end["output_tokens"]) == ("caller_left", own_input(TEXT), 0)


def test_half_a_hangup_in_a_stream_is_a_hangup(place: Place) -> None:
    """The stream ends there, without an end of its chunks: no client takes it for a whole answer."""
    place.script("hang", after_chunks=ROLE_EVENT + 3)
    call = place.call(TEXT, stream=True).read_events(3)
    call.half_close()
    place.reached("hangups", at_least=1)

    assert not call.read_all().received.endswith(b"0\r\n\r\n")
    end = place.only_end()
    assert (end["rule"], end["output_tokens"]) == ("caller_left", tokens_of(call.content))


def _request(place: Place) -> bytes:
    """All bytes of the request that `RoughCall` sends."""
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {place.gateway.url.removeprefix('http://')}\r\n"
        f"Connection: close\r\nAuthorization: Bearer {place.key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(BODY)}\r\n\r\n"
    )
    return head.encode() + BODY.encode()

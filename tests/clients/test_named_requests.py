"""A request that names an Idempotency-Key goes on when its client has left, at whatever point that was, and
leaves nothing behind but its answer."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from client_config import config
from place import Place
from processes import simulator_process, until
from rough import RoughCall, chat
from served_gateway import ServedGateway

TEXT, WORDS = "say 40 words", 40
LONG_TEXT, LONG_WORDS = "say 15000 words", 15_000
ROLE_EVENT = 1
"""The first event of this upstream's streams has no output."""
NAME = "a"
REPLAY = "x-llmdeal-idempotent-replay"
PATIENCE_S = 60.0

Leave = Callable[[RoughCall], None]
LEAVES: dict[str, Leave] = {
    "closes": RoughCall.close,
    "resets": RoughCall.reset,
    "closes half": RoughCall.half_close,
}
leaves = pytest.mark.parametrize("leave", LEAVES.values(), ids=LEAVES)
forms = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


def named(url: str, key: str, text: str = TEXT, **fields: object) -> RoughCall:
    """A request with a name; it is a line behind the key's."""
    return RoughCall(f"{url}/v1/chat/completions", chat(text, **fields), f"{key}\r\nIdempotency-Key: {NAME}")


def again(url: str, key: str, text: str = TEXT, **fields: object) -> httpx.Response:
    """The same once more, by a client that waits."""
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": NAME}
    body = chat(text, **fields)
    return httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=PATIENCE_S)


def collected(place: Place, **fields: object) -> httpx.Response:
    """The answer, once the first request has ended."""

    def answer() -> httpx.Response | None:
        found = again(place.gateway.url, place.key, **fields)
        return None if found.status_code == 409 else found

    return until(answer, what="the first request to end")


def assert_collected(place: Place, **fields: object) -> None:
    """The whole answer is there, was asked for once and charged once; nothing else is left."""
    found = collected(place, **fields)
    assert (found.status_code, found.headers.get(REPLAY)) == (200, "true"), found.text
    assert "data: [DONE]" in found.text or found.json()["choices"][0]["finish_reason"] == "stop"
    end = place.only_end()
    assert (end["rule"], end["output_tokens"] >= WORDS) == ("completed", True)
    assert place.asked == 1


@leaves
@forms
def test_while_the_hold_is_being_opened(place: Place, leave: Leave, stream: bool) -> None:
    """The hold was on its way into the ledger."""
    with place.gateway.store_locked():
        call = named(place.gateway.url, place.key, stream=stream)
        until(lambda: place.gateway.waits_in("open_hold"), what="the hold to be on its way")
        leave(call)

    assert_collected(place, stream=stream)
    call.close()


@leaves
@forms
def test_before_the_upstream_has_answered(place: Place, leave: Leave, stream: bool) -> None:
    """The upstream has the request."""
    place.control.post("/barrier/close")
    call = named(place.gateway.url, place.key, stream=stream)
    place.reached("waiting", at_least=1)
    leave(call)
    assert again(place.gateway.url, place.key, stream=stream).status_code == 409
    place.control.post("/barrier/open")

    assert_collected(place, stream=stream)
    call.close()


@leaves
@pytest.mark.parametrize("events", [1, 10])
def test_in_a_stream(place: Place, leave: Leave, events: int) -> None:
    """After the first and the tenth piece."""
    place.script("slow", delay_ms=5)
    call = named(place.gateway.url, place.key, stream=True).read_events(events)
    leave(call)

    assert_collected(place, stream=True)
    call.close()


def test_a_client_that_does_not_read_is_dropped_and_its_answer_kept(place: Place) -> None:
    """The connection is closed after a while, the work goes on at its own pace."""
    call = named(place.gateway.url, place.key, LONG_TEXT, stream=True, max_tokens=32_768)
    end = until(lambda: place.records()[-1:] and _ended(place), patience_s=PATIENCE_S, what="the end")

    assert (end["rule"], end["output_tokens"] >= LONG_WORDS) == ("completed", True)
    assert "[DONE]" not in call.read_all().text
    call.close()
    # What it has in events is more than is kept.
    answer = collected(place, text=LONG_TEXT, stream=True, max_tokens=32_768)
    assert answer.status_code == 422
    assert place.only_end() == end


def _ended(place: Place) -> dict[str, object] | None:
    ends = [record for record in place.records() if record["kind"] in ("post", "void")]
    return ends[0] if ends else None


def test_a_comment_keeps_the_stream_open_and_is_not_kept(place: Place) -> None:
    """While the upstream is silent the client is told so; who asks again gets the answer alone."""
    place.script("slow", delay_ms=600, model="llama-3.1-8b-instant")
    call = named(place.gateway.url, place.key, "say 2 words", model="slow", stream=True).read_all()
    found = collected(place, text="say 2 words", model="slow", stream=True)

    assert ": keep-alive" in call.text
    assert ": keep-alive" not in found.text
    assert [f"data: {event.decode()}" for event in call.events] == found.text.strip().split("\n\n")
    place.only_end()


def test_the_gateway_is_stopped_meanwhile(tmp_path: Path, unreachable: str) -> None:
    """With the clients gone: what had delivered nothing is given back and may be sent anew, what had was
    charged and cut, and what was finished is given again."""
    with (
        simulator_process() as simulator,
        httpx.Client(base_url=f"{simulator}/control", timeout=PATIENCE_S) as control,
    ):
        gateway = ServedGateway(tmp_path, config(simulator, unreachable=unreachable, flood=unreachable))
        with gateway.running():
            kept, plain, cut = (gateway.key() for _ in range(3))
            first = again(gateway.url, kept, stream=True)
            control.post("/script", json={"behaviour": "hang", "after_chunks": 20, "times": 1})
            named(gateway.url, cut, stream=True).read_events(10).close()
            control.post("/barrier/close")
            running = named(gateway.url, plain)
            assert control.get("/waiting", params={"at_least": 1}).json()["reached"]
            running.close()
        control.post("/reset")
        rules = sorted(record["rule"] for record in gateway.records() if record["rule"])
        assert rules == ["completed", "failed_before_output", "gateway_stopped"]
        with gateway.running():
            found = again(gateway.url, kept, stream=True)
            assert (found.headers.get(REPLAY), found.content) == ("true", first.content)
            refused = again(gateway.url, cut, stream=True)
            assert refused.status_code == 422
            assert "charged" in refused.text
            assert "cut" in refused.text
            anew = again(gateway.url, plain)
            assert (anew.status_code, anew.headers.get(REPLAY)) == (200, None)
            until(lambda: gateway.open_holds() == 0, what="every hold to end")
            assert gateway.broken_invariants() == []

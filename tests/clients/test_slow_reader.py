"""A client that reads more slowly than the upstream writes: what is buffered is bounded, and not for ever."""

from counting import tokens_of
from flood import EVENT as FLOODED
from flood import WORD, Flood
from place import Place, own_input
from processes import until
from rough import chat
from slow_reader import SlowReader

TEXT = "say as many words as there are"
UNSENT_BYTES_MAX = 1024 * 1024
"""In the gateway, for one client: the 64 KiB at which its server stops taking more, and on top the last
batch: what had arrived together from the upstream, some 128 KiB in our buffer and one read of 256 KiB."""
TAKEN_BYTES_MAX = 24 * 1024 * 1024
"""From the upstream: mostly the kernel's buffers of two connections, 4 and 6 MiB each by default."""
GROWTH_BYTES_MAX = 16 * 1024 * 1024


def test_an_unread_stream_is_bounded_and_ends(place: Place, flood: Flood) -> None:
    """The upstream is stopped after a bounded amount, others are served meanwhile, and after `unread_s` the
    reader is dropped, the upstream closed, and what was delivered is billed."""
    place.call("say 1 words").read_all()
    place.ends(1)
    before = place.gateway.resident_bytes()
    body = chat(TEXT, "flood", stream=True, max_tokens=32_000)
    with SlowReader().reading(place.url(), body, place.key) as reader:
        until(lambda: flood.sent and flood.blocked.is_set(), what="the upstream to be stopped")
        assert place.gateway.open_holds() == 1
        assert place.gateway.look().unsent <= UNSENT_BYTES_MAX
        assert flood.sent <= TAKEN_BYTES_MAX
        assert place.gateway.resident_bytes() - before <= GROWTH_BYTES_MAX
        other = place.call("say 40 words", stream=True).read_all()
        assert other.events[-1] == b"[DONE]"
        assert flood.closed.wait(20)
        until(lambda: place.gateway.look().callers == 0, what="the reader to be dropped")

    [end] = [end for end in place.ends(3) if end["rule"] != "completed"]
    assert (end["kind"], end["rule"], end["input_tokens"]) == ("post", "caller_left", own_input(TEXT))
    pieces = flood.sent // len(str(FLOODED))
    assert tokens_of(reader.content) <= end["output_tokens"] < pieces * tokens_of(WORD)

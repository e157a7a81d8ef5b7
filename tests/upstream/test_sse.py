"""Server-sent events arrive whole, wherever the network cuts the bytes and whatever line ends are used."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdeal_litellm.limits import SSE_EVENT_BYTES_MAX
from llmdeal_litellm.upstream.sse import BOM, EventTooLarge, SseDecoder

CASES: dict[str, tuple[bytes, list[bytes]]] = {
    "one event": (b"data: a\n\n", [b"a"]),
    "no space": (b"data:a\n\n", [b"a"]),
    "one space belongs to the colon": (b"data:  a \n\n", [b" a "]),
    "several lines": (b"data: a\ndata: b\n\n", [b"a\nb"]),
    "an empty line of data": (b"data:\ndata\n\n", [b"\n"]),
    "a field without a colon": (b"data\n\n", [b""]),
    "CRLF": (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
    "CR": (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
    "mixed line ends": (b"data: a\r\n\ndata: b\n\r\ndata: c\r\r\n", [b"a", b"b", b"c"]),
    "comments": (b": ping\n\n:\n\ndata: a\n: b\n\n", [b"a"]),
    "other fields": (b"event: x\nid: 7\nretry: 9\ndata: a\n\nevent: y\n\n", [b"a"]),
    "names that only begin alike": (b"database: x\ndata2: y\n data: z\n\n", []),
    "byte order mark": (BOM + b"data: a\n\n", [b"a"]),
    "a second byte order mark is text": (BOM + BOM + b"data: a\n\ndata: b\n\n", [b"b"]),
    "blank lines": (b"\n\n\n\ndata: a\n\n\n\n", [b"a"]),
    "an event cut off at the end": (b"data: a\n\ndata: b\n", [b"a"]),
    "nothing": (b"", []),
    "bytes that are no text": (b"data: \xff\xfe\x00\n\n", [b"\xff\xfe\x00"]),
}


def decoded(*pieces: bytes) -> list[bytes]:
    """What a new decoder finds in the pieces."""
    decoder = SseDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


def by_the_book(text: bytes) -> list[bytes]:
    """The same, read off the standard line by line, given the whole text at once."""
    lines = re.split(rb"\r\n|\n|\r", text.removeprefix(BOM))[:-1]
    events: list[bytes] = []
    data: list[bytes] = []
    for line in lines:
        field, _, value = line.partition(b":")
        if not line and data:
            events.append(b"\n".join(data))
            data = []
        elif field == b"data":
            data.append(value.removeprefix(b" "))
    return events


@pytest.mark.parametrize("case", CASES)
def test_events_are_read_as_the_standard_says(case: str) -> None:
    """Each form of the standard, in one piece and byte by byte."""
    text, events = CASES[case]
    assert decoded(text) == events
    assert decoded(*(text[i : i + 1] for i in range(len(text)))) == events
    assert by_the_book(text) == events


WORDS = st.sampled_from(
    [b"data: ", b"data", b":", b"a", b"\xc3\xa4", b"\r", b"\n", b"\r\n", b"\n\n", b"event: x", BOM, b" "]
)


@given(st.lists(WORDS, max_size=30), st.lists(st.integers(1, 12), max_size=40))
def test_where_the_bytes_are_cut_does_not_matter(words: list[bytes], sizes: list[int]) -> None:
    """Any text, cut anywhere, gives the events that the standard gives for the whole."""
    text = b"".join(words)
    pieces, rest = [], text
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    assert decoded(*pieces, rest) == by_the_book(text)


def test_an_event_as_large_as_allowed_is_read() -> None:
    """2 MiB of data are one event."""
    data = b"x" * (SSE_EVENT_BYTES_MAX - len(b"data: ") - 1)
    assert decoded(b"data: " + data + b"\n\n") == [data]


@pytest.mark.parametrize(
    "line", [b"x" * 65_536, b"data: " + b"x" * 65_530 + b"\n"], ids=["one line", "lines"]
)
def test_an_event_without_end_is_given_up(line: bytes) -> None:
    """An upstream that never ends an event cannot fill the memory."""
    pieces = [line] * (SSE_EVENT_BYTES_MAX // len(line) + 2)
    with pytest.raises(EventTooLarge):
        decoded(*pieces)


def test_many_events_are_no_large_event() -> None:
    """The bound is for one event, not for a stream."""
    decoder = SseDecoder()
    event = b"data: " + b"x" * 65_530 + b"\n\n"
    found = sum(len(list(decoder.feed(event))) for _ in range(3 * SSE_EVENT_BYTES_MAX // 65_536))
    assert found == 3 * SSE_EVENT_BYTES_MAX // 65_536

"""Faults in how an answer is written: line ends, comments, types, compression, a broken character."""

import gzip
from collections.abc import Callable, Mapping
from functools import lru_cache

import orjson

from llmdeal_litellm.simulator.faults.places import text_slot
from llmdeal_litellm.simulator.faults.reply import Reply

Framed = Callable[[Reply], Reply]

BOM = b"\xef\xbb\xbf"
BOMB_BYTES = 10 * 1024 * 1024
FLOOD_HEADERS, FLOOD_LINE_BYTES = 300, 100
BROKEN_TEXT = "tr\xe6"
"""Ends in a character of two bytes."""


def _lines(change: Callable[[bytes], bytes]) -> Framed:
    """A change of each event of a stream, given with LF line ends; plain answers stay as they are."""

    def framed(reply: Reply) -> Reply:
        if reply.sse:
            reply.frames = [change(frame.replace(b"\r\n", b"\n")) for frame in reply.frames]
        return reply

    return framed


def _bom(reply: Reply) -> Reply:
    if reply.sse:
        reply.frames = [BOM, *reply.frames]
    return reply


def _in_lines(frame: bytes) -> bytes:
    """The data over several lines; a line end is a blank to JSON."""
    made: list[bytes] = []
    for line in frame.split(b"\n"):
        data = line.removeprefix(b"data: ")
        if line.startswith(b"data: {"):
            indented = orjson.dumps(orjson.loads(data), option=orjson.OPT_INDENT_2)
            made += [b"data: " + one for one in indented.split(b"\n")]
        else:
            made.append(line)
    return b"\n".join(made)


def _half_character(reply: Reply) -> Reply:
    """Everything ends, as if it were complete, after the first byte of a two-byte character."""
    events = reply.frames if reply.streamed else [reply.body]
    texts = [place for place, frame in enumerate(events) if _broken(frame) is not None]
    if texts:
        place = texts[len(texts) // 2]
        reply.frames = [*events[:place], _broken(events[place]) or b""]
    else:
        reply.frames = reply.half
    return reply


def _broken(frame: bytes) -> bytes | None:
    """An event or answer up to the middle of a character in its text; None where it has no text."""
    start = frame.find(b"{")
    try:
        event = orjson.loads(frame[start:].strip()) if start >= 0 else None
    except orjson.JSONDecodeError:
        event = None
    slot = text_slot(event) if isinstance(event, dict) else None
    if slot is None:
        return None
    slot[0][slot[1]] += BROKEN_TEXT
    whole = frame[:start] + orjson.dumps(event)
    return whole[: whole.index(BROKEN_TEXT.encode()) + len(BROKEN_TEXT.encode()) - 1]


def _as_text(reply: Reply) -> Reply:
    reply.headers["content-type"] = "text/plain; charset=utf-8"
    return reply


def _compressed(reply: Reply) -> Reply:
    reply.headers["content-encoding"] = "gzip"
    reply.frames = [gzip.compress(reply.body, mtime=0)]
    return reply


@lru_cache(maxsize=1)
def bomb() -> bytes:
    """Few bytes that become many."""
    return gzip.compress(bytes(BOMB_BYTES), mtime=0)


def _bomb(reply: Reply) -> Reply:
    reply.headers["content-encoding"] = "gzip"
    reply.frames = [bomb()]
    return reply


def _flood(reply: Reply) -> Reply:
    for number in range(FLOOD_HEADERS):
        name = f"x-flood-{number:03}"
        reply.headers.add(name, "f" * (FLOOD_LINE_BYTES - len(name) - len(": ")))
    return reply


FRAMINGS: Mapping[str, Framed] = {
    "end_in_utf8": _half_character,
    "wrong_type": _as_text,
    "gzip_bomb": _bomb,
    "gzip_good": _compressed,
    "sse_cr": _lines(lambda frame: frame.replace(b"\n", b"\r")),
    "sse_crlf": _lines(lambda frame: frame.replace(b"\n", b"\r\n")),
    "sse_bom": _bom,
    "sse_comments": _lines(lambda frame: b": keep-alive\n\n:\n" + frame + b": canary-comment\n\n"),
    "sse_multiline": _lines(_in_lines),
    "sse_no_space": _lines(lambda frame: frame.replace(b"data: ", b"data:", 1)),
    "header_flood": _flood,
}

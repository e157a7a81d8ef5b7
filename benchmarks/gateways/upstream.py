"""The upstream of every gateway that is measured: canned answers over raw HTTP/1.1, as cheap as Python can.

Prints its port. It looks at no more of a request than it must: the length of its body, whether a stream is
asked for, and by the path which wire is spoken. Each piece of a stream is a write of its own.
"""

import argparse
import asyncio
import sys
from typing import cast

import uvloop
from canned import Canned, anthropic, gemini, openai

HEAD_ENDS = b"\r\n\r\n"
LENGTH, CHUNKED = b"content-length:", b"transfer-encoding: chunked"
CHUNK_END = b"0\r\n\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
PLAIN_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
MARKS_OF_STREAMS = (b'"stream":true', b'"stream": true', b":streamGenerateContent")


class _Answers:
    """What is written for one wire."""

    def __init__(self, canned: Canned) -> None:
        self.plain = PLAIN_HEAD % len(canned.plain) + canned.plain
        self.pieces = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in canned.pieces]


class Upstream(asyncio.Protocol):
    """One connection, which is kept."""

    def __init__(self, wires: dict[str, _Answers], pause_s: float) -> None:
        self._wires = wires
        self._pause_s = pause_s
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._ends = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""

        self._transport = cast(asyncio.Transport, transport)  # uvloop's own are none by their class

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._received += data
        if not self._ends:
            head_ends = self._received.find(HEAD_ENDS)
            if head_ends < 0:
                return
            head = self._received[:head_ends].lower()
            if CHUNKED in head and not self._received.endswith(CHUNK_END):
                return
            self._ends = head_ends + len(HEAD_ENDS) + _body_bytes(head)
        if len(self._received) < self._ends:
            return
        request, self._received, self._ends = self._received, b"", 0
        answers = self._wires[_wire(request[: request.find(b"\r")])]
        if any(mark in request for mark in MARKS_OF_STREAMS):
            self._transport.write(STREAM_HEAD)
            self._piece(answers.pieces, 0)
        else:
            self._transport.write(answers.plain)

    def _piece(self, pieces: list[bytes], number: int) -> None:
        if self._transport.is_closing():
            return
        if number == len(pieces):
            self._transport.write(CHUNK_END)
            return
        self._transport.write(pieces[number])
        if self._pause_s:
            self._loop.call_later(self._pause_s, self._piece, pieces, number + 1)
        else:
            self._loop.call_soon(self._piece, pieces, number + 1)


def _body_bytes(head: bytes) -> int:
    """What the head says; 0 for a question without a body."""
    begins = head.find(LENGTH)
    if begins < 0:
        return 0
    ends = head.find(b"\r", begins)
    return int(head[begins + len(LENGTH) : ends if ends > 0 else None])


def _wire(first_line: bytes) -> str:
    if b"/messages" in first_line:
        return "anthropic"
    return "gemini" if b"enerateContent" in first_line else "openai"


async def _serve(input_tokens: int, pause_s: float) -> None:
    wires = {
        "openai": _Answers(openai(input_tokens)),
        "anthropic": _Answers(anthropic(input_tokens)),
        "gemini": _Answers(gemini(input_tokens)),
    }
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Upstream(wires, pause_s), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    # It ends with whoever started it.
    await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input-tokens", type=int, default=250, help="what it says that a prompt has")
    parser.add_argument("--pause-ms", type=float, default=0.0, help="between two pieces of a stream")
    given = parser.parse_args()
    uvloop.run(_serve(given.input_tokens, given.pause_ms / 1000))


if __name__ == "__main__":
    main()

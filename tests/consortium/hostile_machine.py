"""A partner's machine that passes every probe, and answers customers with whatever bytes a test wants."""

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import orjson
from machines import MODEL

Answer = Callable[[BinaryIO, int], None]
"""Writes the answer to the n-th customer's request, from 1."""
PROBE = b"Say OK."


def http(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """An answer with a Content-Length, true unless given."""
    size = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {size}", "Content-Type: application/json", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def completion(text: str) -> bytes:
    """A right plain answer."""
    return orjson.dumps(
        {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": MODEL,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
    )


class HostileMachine(socketserver.ThreadingTCPServer):
    """Use `hostile_machine`. `answer` may be exchanged at any time."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.answer: Answer = lambda out, _: None
        self.leaving = threading.Event()
        self.connections = 0
        self.customers = 0

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """What it is registered as."""
        return f"http://127.0.0.1:{self.port}/v1"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave are what the tests are about."""


class _Connection(socketserver.StreamRequestHandler):
    server: HostileMachine

    def handle(self) -> None:
        self.server.connections += 1
        while head := self._head():
            body = self.rfile.read(_length(head))
            if head.startswith(b"GET"):
                self.wfile.write(
                    http(orjson.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}))
                )
            elif PROBE in body:
                self.wfile.write(http(completion("OK")))
            else:
                self.server.customers += 1
                self.server.answer(self.wfile, self.server.customers)

    def _head(self) -> bytes:
        lines: list[bytes] = []
        while line := self.rfile.readline():
            lines.append(line)
            if line == b"\r\n":
                return b"".join(lines)
        return b""


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


@contextmanager
def hostile_machine() -> Iterator[HostileMachine]:
    """A running one."""
    with HostileMachine() as machine:
        thread = threading.Thread(target=machine.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield machine
        finally:
            machine.leaving.set()
            machine.shutdown()
            thread.join()

"""An upstream that sends a whole stream, its end included, in one write, when a test lets it."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE_S = 30.0


def _event(delta: dict[str, Any], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "x", "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


class OneWrite:
    """Use `running`, then `after` for each answer."""

    def __init__(self) -> None:
        self._texts: tuple[str, ...] = ("",)
        self._released = threading.Event()
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                """See `BaseHTTPRequestHandler`."""
                self.rfile.read(int(self.headers["content-length"]))
                upstream._released.wait(PATIENCE_S)
                *texts, last = upstream._texts
                events = [_event({"content": text}, None) for text in texts]
                events.append(_event({"content": last}, "stop"))
                body = b"".join(events) + b"data: [DONE]\n\n"
                head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n"
                self.wfile.write(head % len(body) + body)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        """Where a deployment finds it."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @contextmanager
    def running(self) -> Iterator["OneWrite"]:
        """Serve until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self._released.set()
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    @contextmanager
    def after(self, *texts: str) -> Iterator[Callable[[], None]]:
        """Answers in the block wait until what is yielded is called, and have these texts, an event each; the
        last one says that it is the end."""
        self._released.clear()
        self._texts = texts
        try:
            yield self._released.set
        finally:
            self._released.set()

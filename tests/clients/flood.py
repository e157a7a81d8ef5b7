"""An upstream whose stream has no end, and which knows how much of it has been taken off its hands."""

import json
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

BLOCKED_AFTER_S = 0.5
WORD = "word "
EVENT = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "flood",
    "choices": [{"index": 0, "delta": {"content": WORD}, "finish_reason": None}],
}
DATA = f"data: {json.dumps(EVENT)}\n\n".encode() * 50
CHUNK = b"%x\r\n%b\r\n" % (len(DATA), DATA)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Flood:
    """A server for one stream at a time."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/v1"
        self.sent = 0
        """Bytes of the newest stream that the connection has taken."""
        self.blocked = threading.Event()
        """Set while nothing has been taken for a while."""
        self.closed = threading.Event()
        """Set when the other side of the newest stream has closed it."""

    @contextmanager
    def running(self) -> Iterator["Flood"]:
        """Serve until the context ends."""
        thread = threading.Thread(target=self._serve, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            thread.join(10)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self.sent = 0
                self.blocked.clear()
                self.closed.clear()
                with connection, suppress(OSError):
                    self._pour(connection)
                self.closed.set()

    def _pour(self, connection: socket.socket) -> None:
        while b"\r\n\r\n" not in connection.recv(65_536):
            pass
        connection.setblocking(False)
        pending = HEAD
        while True:
            readable, writable, _ = select.select([connection], [connection], [], BLOCKED_AFTER_S)
            if readable and not connection.recv(65_536):
                return
            if not writable:
                self.blocked.set()
                continue
            self.blocked.clear()
            taken = connection.send(pending)
            self.sent += taken
            pending = pending[taken:] or CHUNK

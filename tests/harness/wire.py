"""HTTP by hand: requests that no client library would send, over one connection."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from concealment import Shown, assert_concealed

READ_BYTES = 65_536
PATIENCE_S = 20.0


class Wire:
    """One keep-alive connection. Every answer is scanned for leaks."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""

    def ask(
        self, method: str, target: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> Shown:
        """Send a request with exactly this target; returns its answer."""
        fields = {"Host": "gateway", **(headers or {})}
        if body is not None:
            fields["Content-Length"] = str(len(body))
        lines = [f"{method} {target} HTTP/1.1", *(f"{n}: {v}" for n, v in fields.items()), "", ""]
        self.send("\r\n".join(lines).encode("latin-1") + (body or b""))
        return self.answer(without_body=method == "HEAD")

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._connection.sendall(data)

    def line(self) -> bytes:
        """Read one line."""
        return self._until(b"\r\n")

    def answer(self, *, without_body: bool = False) -> Shown:
        """Read one whole answer."""
        head = self._until(b"\r\n\r\n").decode("latin-1")
        status_line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        _, status, reason = status_line.split(" ", 2)
        pairs = [line.partition(": ") for line in lines]
        headers = tuple((name.lower(), value) for name, _, value in pairs)
        shown = Shown(int(status), reason, headers, b"" if without_body else self._body(dict(headers)))
        assert_concealed(shown)
        return shown

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return self._exactly(int(headers.get("content-length", 0)))
        body = b""
        while size := int(self._until(b"\r\n"), 16):
            body += self._exactly(size)
            self._exactly(2)
        self._exactly(2)
        return body

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            self._read()
        found, _, self._buffer = self._buffer.partition(end)
        return found + end

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._read()
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def _read(self) -> None:
        piece = self._connection.recv(READ_BYTES)
        assert piece, f"the connection was closed after {self._buffer!r}"
        self._buffer += piece

    def rest(self) -> bytes:
        """Everything until the other side closes."""
        pieces = [self._buffer]
        while piece := self._connection.recv(READ_BYTES):
            pieces.append(piece)
        return b"".join(pieces)


@contextmanager
def wire(url: str) -> Iterator[Wire]:
    """A connection to the host and port of a URL."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE_S) as connection:
        yield Wire(connection)

"""The two directions of one PostgreSQL connection (protocol version 3), read just far enough to know which of
the server's bytes answer a COMMIT."""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

COMMIT = re.compile(rb"\s*(COMMIT|END)(\s+(WORK|TRANSACTION))?\s*;?\s*", re.IGNORECASE)
COMMITTED = b"COMMIT\x00"
"""What CommandComplete carries when a transaction was committed by a statement."""

ENCRYPTION_REQUESTS = (80877103, 80877104)
"""SSLRequest and GSSENCRequest: sent in place of a startup message, answered with one byte."""

HEAD = 5
"""A message's type byte and its length, which counts itself but not the type."""


@dataclass
class Request:
    """What the client sent up to one Sync or simple query, which the server answers up to ReadyForQuery."""

    commit: bool = False
    simple: bool = False


@dataclass
class Answer:
    """Bytes of the server that belong together."""

    data: bytes
    commit: bool
    """Whether they answer a request with a COMMIT, as its client asked or as its server says."""
    last: bool
    """Whether they end with the request's ReadyForQuery."""


@dataclass
class Conversation:
    """One connection. `sent` takes the client's bytes, `answered` the server's, both in any pieces."""

    _client: bytearray = field(default_factory=bytearray)
    _server: bytearray = field(default_factory=bytearray)
    _started: bool = False
    _open: Request = field(default_factory=Request)
    _waiting: "deque[Request]" = field(default_factory=deque)
    _statements: dict[bytes, bool] = field(default_factory=dict)
    _portals: dict[bytes, bool] = field(default_factory=dict)

    def sent(self, data: bytes) -> tuple[bytes, bytes]:
        """Returns the bytes to send on to the server, and those to answer the client with at once: a request
        for encryption is declined here, since an encrypted conversation could not be read."""
        self._client += data
        declined = b""
        while not self._started:
            if len(self._client) < 8 or len(self._client) < (length := _int32(self._client, 0)):
                return b"", declined
            if _int32(self._client, 4) in ENCRYPTION_REQUESTS:
                del self._client[:length]
                declined += b"N"
                continue
            self._started = True
            self._waiting.append(Request())
            start = bytes(self._client)
            del self._client[:length]
            self._read_client()
            return start, declined
        self._read_client()
        return data, declined

    def answered(self, data: bytes) -> Iterator[Answer]:
        """The server's bytes, as far as they are whole messages, cut where the answer to a COMMIT starts or
        ends."""
        self._server += data
        whole: list[bytes] = []
        commit = False
        for kind, message in _messages(self._server):
            request = self._waiting[0] if self._waiting else Request()
            if kind == b"C" and message[HEAD:] == COMMITTED:
                request.commit = True
            elif kind == b"G" and not request.simple and self._waiting:
                # The server ignores a Sync that comes while it waits for COPY data; the client sends another.
                self._waiting.popleft()
            if whole and request.commit != commit:
                yield Answer(b"".join(whole), commit, last=False)
                whole = []
            commit = request.commit
            whole.append(message)
            if kind == b"Z":
                if self._waiting:
                    self._waiting.popleft()
                if commit:
                    yield Answer(b"".join(whole), commit, last=True)
                    whole = []
        if whole:
            yield Answer(b"".join(whole), commit, last=False)

    def _read_client(self) -> None:
        for kind, message in _messages(self._client):
            if kind == b"Q":
                self._open.simple = True
                self._open.commit |= _is_commit(message[HEAD:-1])
                self._end_request()
            elif kind == b"P":
                name, text, _ = message[HEAD:].split(b"\x00", 2)
                self._statements[name] = _is_commit(text)
            elif kind == b"B":
                portal, name, _ = message[HEAD:].split(b"\x00", 2)
                self._portals[portal] = self._statements.get(name, False)
            elif kind == b"E":
                portal, _ = message[HEAD:].split(b"\x00", 1)
                self._open.commit |= self._portals.get(portal, False)
            elif kind == b"S":
                self._end_request()

    def _end_request(self) -> None:
        self._waiting.append(self._open)
        self._open = Request()


def _is_commit(text: bytes) -> bool:
    return COMMIT.fullmatch(text) is not None


def _int32(data: bytearray, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def _messages(buffer: bytearray) -> Iterator[tuple[bytes, bytes]]:
    """Take the whole messages out of a buffer: each one's type, and its bytes with the type and length."""
    at = 0
    try:
        while len(buffer) - at >= HEAD:
            end = at + 1 + _int32(buffer, at + 1)
            if len(buffer) < end:
                break
            message = bytes(buffer[at:end])
            at = end
            yield message[:1], message
    finally:
        del buffer[:at]

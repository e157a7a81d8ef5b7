"""A client that leaves as no library does: with a reset, with half of the connection, in the middle of a byte
stream."""

import json
import socket
import struct
from typing import Any

from raw import RawCall

AT_ONCE = struct.pack("ii", 1, 0)
"""Linger for no time: closing sends a reset."""


class RoughCall(RawCall):
    """A request on a connection of its own."""

    def reset(self) -> None:
        """Hang up with a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        self._socket.close()

    def half_close(self) -> None:
        """Say that nothing more is sent, and go on reading."""
        self._socket.shutdown(socket.SHUT_WR)

    def read_up_to(self, mark: bytes) -> "RoughCall":
        """Read byte by byte until the mark is there; what follows it stays unread."""
        while not self.received.endswith(mark):
            piece = self._socket.recv(1)
            assert piece, self.text[-500:]
            self.received += piece
        return self

    def read_words(self, words: int) -> "RoughCall":
        """Read until the events so far have this many words."""
        while len(self.content.split()) < words:
            assert self._more(), self.text[-500:]
        return self

    def has_received_nothing(self) -> bool:
        """Whether not even a first byte has come."""
        self._socket.setblocking(False)
        try:
            return self._socket.recv(1, socket.MSG_PEEK) is None
        except BlockingIOError:
            return True
        finally:
            self._socket.settimeout(30)

    @property
    def request_id(self) -> str:
        """The id of the answer, which has begun."""
        head = self.text.partition("\r\n\r\n")[0]
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:])
        return fields["x-llmdeal-request-id"]

    @property
    def usage(self) -> dict[str, int] | None:
        """The usage among the events so far."""
        found = [json.loads(e).get("usage") for e in self.events if e != b"[DONE]"]
        return next((usage for usage in found if usage), None)


def chat(text: str, model: str = "llama-3.3-70b", **fields: Any) -> dict[str, Any]:
    """The body of a chat completion."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}

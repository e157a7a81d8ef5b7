"""Server-sent events, decoded incrementally from bytes.

Takes CR, LF and CRLF line ends, a leading BOM, comments, and data over several lines, wherever the
network cuts them. Source: WHATWG HTML, "Server-sent events", 9.2.6.
"""

from collections.abc import Iterator

from llmdeal_litellm.limits import SSE_EVENT_BYTES_MAX

BOM = b"\xef\xbb\xbf"


class EventTooLarge(ValueError):
    """One event is larger than SSE_EVENT_BYTES_MAX."""


class SseDecoder:
    """Feed it bytes; it yields the data of each complete event. An event cut off at the end is dropped."""

    def __init__(self) -> None:
        self._buffer = b""
        self._data: list[bytes] = []
        self._size = 0
        self._started = False
        self._after_return = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The data of every event that `piece` completes. Raises EventTooLarge."""
        if self._after_return:
            # The line feed that belongs to the carriage return before.
            piece = piece.removeprefix(b"\n")
        self._after_return = piece.endswith(b"\r")
        buffer = self._buffer + piece
        if not self._started:
            if len(buffer) < len(BOM) and BOM.startswith(buffer):
                self._buffer = buffer
                return
            self._started = True
            buffer = buffer.removeprefix(BOM)
        if b"\r" in buffer:
            buffer = buffer.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, self._buffer = buffer.split(b"\n")
        if self._size + len(self._buffer) > SSE_EVENT_BYTES_MAX:
            raise EventTooLarge
        for line in lines:
            if not line:
                if self._data:
                    yield b"\n".join(self._data)
                self._data, self._size = [], 0
                continue
            # In line and by slices: this is done for every line of every stream.
            if line[:6] == b"data: ":
                value = line[6:]
            elif line[:5] == b"data:":
                value = line[5:]
            elif line == b"data":
                value = b""
            else:
                continue
            self._size += len(value) + 1
            if self._size > SSE_EVENT_BYTES_MAX:
                raise EventTooLarge
            self._data.append(value)

"""A client with hardly any buffer that reads a few bytes a second."""

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from raw import EVENT
from raw import _request as request_of

READ_BYTES, EVERY_S = 4, 0.1
RECEIVE_BUFFER_BYTES = 2048


class SlowReader:
    """A request whose answer is read slowly, until the other side closes."""

    def __init__(self) -> None:
        self.received = b""
        self._left = threading.Event()

    @contextmanager
    def reading(self, url: str, body: Mapping[str, Any], key: str) -> Iterator["SlowReader"]:
        """Read until the context ends."""
        host, port, request = request_of(url, json.dumps(body).encode(), key)
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            connection.connect((host, port))
            connection.sendall(request)
            thread = threading.Thread(target=self._read, args=(connection,))
            thread.start()
            try:
                yield self
            finally:
                self._left.set()
                thread.join()

    def _read(self, connection: socket.socket) -> None:
        while not self._left.wait(EVERY_S):
            try:
                piece = connection.recv(READ_BYTES)
            except ConnectionResetError:
                piece = b""
            if not piece:
                return
            self.received += piece

    @property
    def content(self) -> str:
        """The text of the whole events so far."""
        return "".join(json.loads(e)["choices"][0]["delta"]["content"] for e in EVENT.findall(self.received))

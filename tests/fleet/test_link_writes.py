"""How calls go out to Redis."""

import asyncio

import pytest

from llmdeal_litellm.redis_link import RedisLink

pytestmark = pytest.mark.asyncio


class Wire(asyncio.Transport):
    """A connection that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See `asyncio.Transport`."""
        self.pieces.append(bytes(data))

    def abort(self) -> None:
        """See `asyncio.Transport`."""


async def test_calls_of_the_same_moment_travel_together() -> None:
    """Redis is woken once for them, and answers in the order in which they were made."""
    wire = Wire()
    link = RedisLink(5, on_lost=lambda link, reason: None, on_message=lambda channel, payload: None)
    link.connection_made(wire)
    calls = [link.ask((b"ECHO", name)) for name in (b"first", b"second", b"third")]
    await asyncio.sleep(0)  # until the loop has run what was ready
    link.data_received(b":1\r\n:2\r\n:3\r\n")

    assert await asyncio.gather(*calls) == [1, 2, 3]
    (piece,) = wire.pieces
    assert piece.index(b"first") < piece.index(b"second") < piece.index(b"third")
    link.lose("the test is over")

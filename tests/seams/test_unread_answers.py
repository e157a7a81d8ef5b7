"""What a client is told when things end early, and a client that stops reading."""

import asyncio

import pytest

from llmdeal_litellm.errors import InternalError
from llmdeal_litellm.seams.http import CallerLeft, HttpExchange, Message

UNREAD_S = 0.05
SCOPE = {"type": "http", "raw_path": b"/v1/chat/completions", "headers": []}


async def no_message() -> Message:
    """A client that sends nothing more."""
    return await asyncio.Event().wait() or {}


async def never_read(message: Message) -> None:
    """A connection whose buffer is full and stays full."""
    await asyncio.Event().wait()


async def test_an_unread_piece_counts_as_a_hangup() -> None:
    """What cannot be delivered within the deadline ends the request as if the client had left."""
    http = HttpExchange(dict(SCOPE), no_message, never_read, "req_1", UNREAD_S)

    with pytest.raises(CallerLeft):
        await http.send_piece(b"data: {}")


async def test_a_read_piece_has_no_deadline_of_its_own() -> None:
    """A client that reads gets every byte."""
    sent: list[Message] = []

    async def read(message: Message) -> None:
        sent.append(message)

    http = HttpExchange(dict(SCOPE), no_message, read, "req_1", UNREAD_S)
    await http.send_piece(b"data: {}", last=True)

    assert sent == [{"type": "http.response.body", "body": b"data: {}", "more_body": False}]


async def test_an_error_in_the_middle_of_a_stream_is_an_event() -> None:
    """Once a stream has begun, any error is its last event; there is no end mark after it."""
    sent: list[Message] = []

    async def read(message: Message) -> None:
        sent.append(message)

    http = HttpExchange(dict(SCOPE), no_message, read, "req_1", UNREAD_S)
    http.start_stream()
    await http.send_piece(b"data: {}\n\n")
    await http.tell(InternalError())
    await http.tell(InternalError())

    assert [m.get("more_body") for m in sent] == [None, True, False]
    assert sent[-1]["body"].startswith(b'data: {"error":{"code":"internal_error"')

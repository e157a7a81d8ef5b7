"""Faults in how an answer goes out: late, slowly, in part, or with a length that is not its own."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from llmdeal_litellm.simulator.delivery import close, cut, hang
from llmdeal_litellm.simulator.faults.reply import Reply

Delivery = Callable[[web.Request, Reply, int | None], Awaitable[web.StreamResponse]]
"""Sends a reply; the number is the pace that the address asks for, in milliseconds."""

DRIP_MS = 20


async def send(request: web.Request, reply: Reply, ms: int | None = None) -> web.StreamResponse:
    """As it should be: a stream an event a write, everything else with its length."""
    if not reply.streamed:
        return web.Response(body=reply.body, status=reply.status, headers=reply.headers)
    return await _streamed(request, reply, reply.frames)


async def _streamed(request: web.Request, reply: Reply, pieces: list[bytes]) -> web.StreamResponse:
    response = await _begun(request, reply, sized=False)
    for piece in pieces:
        await response.write(piece)
    await response.write_eof()
    return response


async def _begun(request: web.Request, reply: Reply, *, sized: bool) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    if sized:
        response.content_length = len(reply.body)
    await response.prepare(request)
    return response


async def _late(request: web.Request, reply: Reply, ms: int | None) -> web.StreamResponse:
    """Nothing, for as long as the client stays; with a pace, the right answer after it."""
    if ms is None:
        await hang(request)
    await asyncio.sleep((ms or 0) / 1000)
    return await send(request, reply)


async def _drip(request: web.Request, reply: Reply, ms: int | None) -> web.StreamResponse:
    """One byte a time."""
    response = await _begun(request, reply, sized=not reply.streamed)
    body = reply.body
    for place in range(len(body)):
        await response.write(body[place : place + 1])
        await asyncio.sleep((DRIP_MS if ms is None else ms) / 1000)
    await response.write_eof()
    return response


async def _hang_midway(request: web.Request, reply: Reply, ms: int | None) -> web.StreamResponse:
    await _half(request, reply, sized=not reply.streamed)
    await hang(request)


async def _half(request: web.Request, reply: Reply, *, sized: bool) -> None:
    response = await _begun(request, reply, sized=sized)
    for piece in reply.half:
        await response.write(piece)


async def _cut_before_headers(request: web.Request, reply: Reply, ms: int | None) -> web.StreamResponse:
    cut(request)


async def _cut_mid_headers(request: web.Request, reply: Reply, ms: int | None) -> web.StreamResponse:
    head = _head(reply, len(reply.body))
    return await _raw(request, head[: len(head) // 2])


async def _cut_mid_body(request: web.Request, reply: Reply, ms: int | None) -> web.StreamResponse:
    """Half of the bytes, wherever that is in an event."""
    response = await _begun(request, reply, sized=not reply.streamed)
    await response.write(reply.body[: len(reply.body) // 2])
    cut(request)


async def _cut_mid_stream(request: web.Request, reply: Reply, ms: int | None) -> web.StreamResponse:
    """Half of the events; of a plain answer half of the bytes, in an HTTP body without a length."""
    await _half(request, reply, sized=False)
    cut(request)


def _sized(length_of: Callable[[int], int]) -> Delivery:
    """The whole body under another Content-Length; the connection closes after it."""

    async def deliver(request: web.Request, reply: Reply, ms: int | None) -> web.StreamResponse:
        return await _raw(request, _head(reply, length_of(len(reply.body))) + reply.body)

    return deliver


def _head(reply: Reply, length: int) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} OK", *(f"{name}: {value}" for name, value in reply.headers.items())]
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode("latin-1")


async def _raw(request: web.Request, data: bytes) -> web.StreamResponse:
    """Bytes that aiohttp would not write, then the end of the connection."""
    if request.transport is not None:
        request.transport.write(data)
    close(request)


DELIVERIES: Mapping[str, Delivery] = {
    "slow_first_byte": _late,
    "drip": _drip,
    "hang_mid_stream": _hang_midway,
    "cut_before_headers": _cut_before_headers,
    "cut_mid_headers": _cut_mid_headers,
    "cut_mid_body": _cut_mid_body,
    "cut_mid_stream": _cut_mid_stream,
    "length_short": _sized(lambda length: length // 2),
    "length_long": _sized(lambda length: length + 100),
}

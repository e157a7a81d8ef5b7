"""Puts an answer on the wire, the way a script wants it: whole, slowly, cut off, or not at all."""

import asyncio
from collections.abc import Sequence
from typing import Any, NoReturn

import orjson
from aiohttp import hdrs, web
from multidict import CIMultiDict

from llmdeal_litellm.simulator import canary, errors
from llmdeal_litellm.simulator.events import ArrayFraming, Chunks
from llmdeal_litellm.simulator.providers import headers
from llmdeal_litellm.simulator.scripts import DEFAULT_AFTER_CHUNKS, HANG_S, Script

Json = dict[str, Any]

HTML = (
    b"<!DOCTYPE html><html><head><title>canary-html-title</title></head>"
    b"<body><h1>502 Bad Gateway</h1><hr><center>canary-html-nginx</center></body></html>"
)


class SelfCut(Exception):
    """The simulator closed the connection itself, as a script asked."""


def header_set(provider: str, model: str, script: Script | None, content_type: str) -> CIMultiDict[str]:
    """Tell-tale headers, then what the script adds or replaces."""
    made: CIMultiDict[str] = CIMultiDict(headers(provider, model))
    extra = list(script.headers) if script else []
    if script and script.behaviour == "canary_everywhere":
        extra = [*canary.HEADERS, *extra]
    for name in {name.lower() for name, _ in extra} - {"set-cookie"}:
        made.popall(name, None)
    made.extend(extra)
    made[hdrs.CONTENT_TYPE] = content_type
    return made


async def send_failure(
    request: web.Request, provider: str, failed: errors.Failure, script: Script | None = None
) -> web.StreamResponse:
    """An error as JSON."""
    made = header_set(provider, "", script, "application/json")
    return web.Response(body=orjson.dumps(failed.body), status=failed.status, headers=made)


async def send_json(
    request: web.Request, provider: str, body: Json, script: Script | None
) -> web.StreamResponse:
    """A whole answer as JSON."""
    made = header_set(provider, str(body.get("model", "")), script, "application/json")
    if script and script.behaviour == "canary_everywhere":
        body = canary.Canaries().body(body)
    data = orjson.dumps(body)
    if script and script.behaviour == "slow":
        await asyncio.sleep(script.delay_ms / 1000)
    if script and script.behaviour == "cut":
        response = web.StreamResponse(headers=made)
        response.content_length = len(data)
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
        cut(request)
    return web.Response(body=data, headers=made)


async def send_stream(
    request: web.Request, provider: str, model: str, made: Chunks, script: Script | None
) -> web.StreamResponse:
    """A streamed answer; each event is a write of its own."""
    behaviour = script.behaviour if script else ""
    kind = Trailed if behaviour == "canary_everywhere" else web.StreamResponse
    response = kind(headers=header_set(provider, model, script, made.framing.content_type))
    pause_s = script.delay_ms / 1000 if script and behaviour == "slow" else 0.0
    frames = _frames(provider, made, script)
    if behaviour == "cut" and not frames:
        cut(request)
    await response.prepare(request)
    for data in frames:
        await response.write(data)
        if pause_s:
            await asyncio.sleep(pause_s)
    if behaviour == "cut":
        cut(request)
    if behaviour == "hang":
        await hang(request)
    await response.write_eof()
    return response


def _frames(provider: str, made: Chunks, script: Script | None) -> Sequence[bytes]:
    """The events of a stream as bytes, as many as the script lets through."""
    behaviour = script.behaviour if script else ""
    after = script.after_chunks if script else None
    framing = made.framing
    whole = [*made.head, *made.tail]
    match behaviour:
        case "cut":
            most = DEFAULT_AFTER_CHUNKS if after is None else after
            return framing.frames(made.head[:most], ended=False)
        case "hang":
            return framing.frames(made.head[:after], ended=False)
        case "clean_end":
            return framing.frames(made.head if after is None else made.head[:after], ended=True)
        case "error_200":
            failed = errors.scripted(provider, script.status if script else 500)
            return framing.frames([*made.head[: after or 0], failed.body], ended=True)
        case "canary_everywhere":
            return _canary_frames(made)
    return [*framing.frames(whole, ended=True), *framing.done]


def _canary_frames(made: Chunks) -> Sequence[bytes]:
    """All events with all marks; a JSON array has no place for comments."""
    frames = made.framing.frames(canary.events([*made.head, *made.tail]), ended=True)
    if not isinstance(made.framing, ArrayFraming):
        frames = [*(canary.frame(one) for one in frames), canary.COMMENT]
    return [*frames, *made.framing.done]


class Trailed(web.StreamResponse):
    """A chunked body with a trailer section. aiohttp writes none, so this one does its own chunking."""

    # What keeps aiohttp from chunking by itself, as it does not for its websockets.
    _length_check = False

    def __init__(self, *, headers: CIMultiDict[str]) -> None:
        super().__init__(headers=headers)
        self.headers[hdrs.TRANSFER_ENCODING] = "chunked"
        self.headers[hdrs.TRAILER] = canary.TRAILER[0]

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """One chunk; an empty one would be the end."""
        if data:
            await super().write(b"%x\r\n%b\r\n" % (len(data), bytes(data)))

    async def write_eof(self, data: bytes = b"") -> None:
        """The last chunk and the trailer; aiohttp asks once more at the end of the exchange."""
        if self.prepared and self._req is not None:
            await self.write(data)
            await super().write(b"0\r\n%b: %b\r\n\r\n" % tuple(text.encode() for text in canary.TRAILER))
        await super().write_eof()


async def hang(request: web.Request) -> NoReturn:
    """Say nothing until the client leaves, at most HANG_S; then drop the connection."""
    await asyncio.sleep(HANG_S)
    cut(request)


def cut(request: web.Request) -> NoReturn:
    """Close the TCP connection without ending the HTTP message. What was written before stays delivered."""
    if request.transport is not None:
        request.transport.abort()
    raise SelfCut


def close(request: web.Request) -> NoReturn:
    """As `cut`, once everything that was written has gone out, however much it is."""
    if request.transport is not None:
        request.transport.close()
    raise SelfCut

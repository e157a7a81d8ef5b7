"""Puts an answer on the wire, the way a script wants it: whole, slowly, cut off, or not at all."""

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
from aiohttp import hdrs, web
from multidict import CIMultiDict

from llmdeal_litellm.simulator import canary, errors
from llmdeal_litellm.simulator.providers import headers
from llmdeal_litellm.simulator.scripts import DEFAULT_AFTER_CHUNKS, HANG_S, Script
from llmdeal_litellm.simulator.stream import DONE, Chunks, frame

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
    request: web.Request, provider: str, body: dict[str, Any], script: Script | None
) -> web.StreamResponse:
    """A whole answer as JSON."""
    made = header_set(provider, str(body.get("model", "")), script, "application/json")
    if script and script.behaviour == "canary_everywhere":
        canary.body(body)
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
    response = web.StreamResponse(
        headers=header_set(provider, model, script, "text/event-stream; charset=utf-8")
    )
    behaviour = script.behaviour if script else ""
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
    head = [*made.head]
    match behaviour:
        case "cut":
            return [frame(c) for c in head[: DEFAULT_AFTER_CHUNKS if after is None else after]]
        case "hang":
            return [frame(c) for c in head[:after]]
        case "clean_end":
            return [frame(c) for c in (head if after is None else head[:after])]
        case "error_200":
            status = script.status if script else 500
            failed = frame_of_failure(errors.scripted(provider, status))
            return [*(frame(c) for c in head[: after or 0]), failed]
        case "canary_everywhere":
            marked = [canary.frame(frame(canary.body(c))) for c in (*head, *made.tail)]
            return [*marked, b": canary-sse-comment-last\n\n", DONE]
    return [*(frame(c) for c in (*head, *made.tail)), DONE]


def frame_of_failure(failed: errors.Failure) -> bytes:
    """An error as one event of a stream."""
    return b"data: " + orjson.dumps(failed.body) + b"\n\n"


async def hang(request: web.Request) -> None:
    """Say nothing until the client leaves, at most HANG_S; then drop the connection."""
    await asyncio.sleep(HANG_S)
    cut(request)


def cut(request: web.Request) -> None:
    """Close the TCP connection without ending the HTTP message. What was written before stays delivered."""
    if request.transport is not None:
        request.transport.abort()
    raise SelfCut

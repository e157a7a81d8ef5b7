"""Faults that are another answer in the right one's place: a status, a redirect, or a 200 that is none."""

from collections.abc import Callable, Mapping

import orjson
from aiohttp import web

from llmdeal_litellm.simulator import canary, errors
from llmdeal_litellm.simulator.delivery import HTML, header_set
from llmdeal_litellm.simulator.faults.reply import EVENT_STREAM, Reply
from llmdeal_litellm.simulator.wires.wire import Json

Instead = Callable[[web.Request, str, bool], Reply]
"""Makes the answer to a request of a provider; the last argument is whether a stream was asked for."""

REDIRECTED = "redirected"
"""The path under the provider that a redirect leads to. It is a 404, and on record when it is called."""
TEXT = b"upstream connect error or disconnect/reset before headers. canary-text-overflow"


def _made(provider: str, body: bytes, content_type: str, status: int = 200, **extra: str) -> Reply:
    headers = header_set(provider, "", None, content_type)
    for name, value in extra.items():
        headers[name.replace("_", "-")] = value
    return Reply(status=status, headers=headers, frames=[body])


def _status(status: int, **extra: str) -> Instead:
    def make(request: web.Request, provider: str, streams: bool) -> Reply:
        body = orjson.dumps(errors.scripted(provider, status).body)
        return _made(provider, body, "application/json", status, **extra)

    return make


def _redirect(status: int) -> Instead:
    def make(request: web.Request, provider: str, streams: bool) -> Reply:
        target = f"{request.url.origin()}/{provider}/{REDIRECTED}"
        return _made(provider, b"", "text/html", status, location=target)

    return make


def _error(request: web.Request, provider: str, streams: bool) -> Reply:
    """An error object under 200; to who asked for a stream, as its only event."""
    body: Json = errors.scripted(provider, 500).body
    if not streams:
        return _made(provider, orjson.dumps(body), "application/json")
    name = b"event: error\n" if body.get("type") == "error" else b""
    reply = _made(provider, name + b"data: " + orjson.dumps(body) + b"\n\n", EVENT_STREAM)
    reply.streamed = True
    return reply


def _html(request: web.Request, provider: str, streams: bool) -> Reply:
    return _made(provider, HTML, "text/html; charset=utf-8")


def _empty(request: web.Request, provider: str, streams: bool) -> Reply:
    return _made(provider, b"", EVENT_STREAM if streams else "application/json")


def _text(request: web.Request, provider: str, streams: bool) -> Reply:
    return _made(provider, TEXT, "text/plain; charset=utf-8")


def _canaries(request: web.Request, provider: str, streams: bool) -> Reply:
    """A 500 that tells on its provider wherever there is room for a text."""
    body = canary.Canaries().body(errors.scripted(provider, 500).body)
    reply = _made(provider, orjson.dumps(body), "application/json", 500)
    for name in {name for name, _ in canary.HEADERS} - {"set-cookie"}:
        reply.headers.popall(name, None)
    reply.headers.extend(canary.HEADERS)
    return reply


INSTEAD: Mapping[str, Instead] = {
    "redirect_301": _redirect(301),
    "redirect_307": _redirect(307),
    **{f"status_{status}": _status(status) for status in (401, 403, 404, 408, 409)},
    "status_429": _status(429, retry_after="7"),
    "status_429_mad": _status(429, retry_after="1000000000"),
    "status_429_negative": _status(429, retry_after="-5"),
    "status_429_date": _status(429, retry_after="Wed, 01 Jan 2031 00:00:00 GMT"),
    **{f"status_{status}": _status(status) for status in (500, 502, 503, 529)},
    "ok_error": _error,
    "ok_html": _html,
    "ok_empty": _empty,
    "ok_text": _text,
    "canary_error": _canaries,
}

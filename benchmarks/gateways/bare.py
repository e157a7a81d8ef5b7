"""A bare pass-through: the same server and the same HTTP client as the gateway's, and no policy at all.

`uvicorn bare:app`, with the upstream's address in UPSTREAM_URL.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

Message = dict[str, Any]

URL = os.environ.get("UPSTREAM_URL", "") + "/v1/chat/completions"
HEADERS = {"content-type": "application/json", "authorization": "Bearer sk-upstream"}

_session: aiohttp.ClientSession | None = None


def _client() -> aiohttp.ClientSession:
    global _session  # made on the loop that serves
    if _session is None:
        _session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1000),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
    return _session


async def is_greeting(scope: Message, send: Callable[[Message], Awaitable[None]]) -> bool:
    """Whether it is no request to pass on; a GET, which only asks whether somebody is there, is answered."""
    if scope["type"] == "http" and scope["method"] == "GET":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
    return scope["type"] != "http" or scope["method"] == "GET"


async def asked(receive: Callable[[], Awaitable[Message]]) -> bytes:
    """The body of a request."""
    pieces, more = [], True
    while more:
        message = await receive()
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(pieces)


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Pass the body on, and the answer back as it comes."""
    if await is_greeting(scope, send):
        return
    async with _client().post(URL, data=await asked(receive), headers=HEADERS) as answer:
        headers = [(b"content-type", answer.headers["content-type"].encode())]
        if (length := answer.headers.get("content-length")) is not None:
            headers.append((b"content-length", length.encode()))
            body = await answer.read()
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        async for piece in answer.content.iter_any():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

"""The bare pass-through with httpx instead of aiohttp, for `make bench-choices`; see `bare.py`."""

from collections.abc import Awaitable, Callable

import httpx
from bare import HEADERS, URL, Message, asked, is_greeting

_client: httpx.AsyncClient | None = None


def _made() -> httpx.AsyncClient:
    global _client  # made on the loop that serves
    if _client is None:
        limits = httpx.Limits(max_connections=1000, max_keepalive_connections=1000)
        _client = httpx.AsyncClient(limits=limits, timeout=30.0, trust_env=False)
    return _client


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Pass the body on, and the answer back as it comes."""
    if await is_greeting(scope, send):
        return
    async with _made().stream("POST", URL, content=await asked(receive), headers=HEADERS) as answer:
        headers = [(b"content-type", answer.headers["content-type"].encode())]
        if (length := answer.headers.get("content-length")) is not None:
            headers.append((b"content-length", length.encode()))
        await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
        async for piece in answer.aiter_raw():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

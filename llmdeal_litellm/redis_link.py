"""One connection to Redis that every call of a process shares. Each call has a deadline, and the first one
that is missed ends the connection: a Redis that is slow is a Redis that is away.

Calls go out in the order in which they are made, and answers and published messages are handed over in the
order in which Redis executed them; whoever keeps a copy of something in Redis relies on that. It takes RESP3,
which carries messages and answers on one connection: Redis 6 or newer.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any, TypeVar, cast

import hiredis
from redis.asyncio import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import RedisError

T = TypeVar("T")
Word = str | bytes | int
Words = tuple[Word, ...]
Heard = Callable[[Any], Any]
"""Turns a reply into what the caller gets. Run at once when the reply is read, before anything behind it."""

UNANSWERED_MAX = 20_000
"""So many calls without an answer count as a missed deadline, so that the memory for them is bounded."""
SECOND_LOOK = 0.1
"""The part of the deadline after a first look: an event loop that was busy itself reads its sockets between
the two looks, and does not take its own delay for that of Redis."""
_NOTHING = object()


class FleetDown(Exception):
    """Redis is away, or did not answer within the deadline. Whether it did what it was asked is not known."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where Redis is and how to enter. `path` is that of a Unix socket."""

    host: str
    port: int
    path: str | None
    database: int
    tls: SSLContext | None = field(repr=False)
    user: str | None = field(repr=False)
    password: str | None = field(repr=False)


def address_of(url: str) -> Address:
    """The address in a `redis://`, `rediss://` or `unix://` URL. Raises ValueError."""
    try:
        found = ConnectionPool.from_url(url).make_connection()  # type: ignore[no-untyped-call]
        return Address(
            host=found.host if isinstance(found, Connection) else "",
            port=found.port if isinstance(found, Connection) else 0,
            path=found.path if isinstance(found, UnixDomainSocketConnection) else None,
            database=int(found.db),
            tls=found.ssl_context.get() if isinstance(found, SSLConnection) else None,
            user=found.username,
            password=found.password,
        )
    except (ValueError, TypeError, RedisError, OSError) as wrong:
        # Its text may hold a part of the password.
        raise ValueError(
            f"not the address of a Redis ({type(wrong).__name__}): redis://USER:PASSWORD@HOST:PORT/NUMBER, "
            "with / : @ ? # % in the password written as %2F and so on"
        ) from None


class Script:
    """A Lua program. Redis keeps it by its digest; one that has forgotten it is sent the text again."""

    __slots__ = ("digest", "text")

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        self.digest = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


class _Call:
    """A call without an answer so far. `script` is what to send instead of its digest, the second of `words`,
    when Redis does not know it."""

    __slots__ = ("asked_s", "future", "heard", "script", "words")

    def __init__(
        self,
        future: "asyncio.Future[Any] | None",
        heard: Heard | None,
        asked_s: float,
        words: Words,
        script: Script | None,
    ) -> None:
        self.future = future
        self.heard = heard
        self.asked_s = asked_s
        self.words = words
        self.script = script


class RedisLink(asyncio.Protocol):
    """The connection. `on_lost` is told once that it ended and why; `on_message` gets channel and payload."""

    def __init__(
        self,
        deadline_s: float,
        *,
        on_lost: "Callable[[RedisLink, str], None]",
        on_message: Callable[[bytes, bytes], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline_s = deadline_s
        self._on_lost = on_lost
        self._on_message = on_message
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._calls: deque[_Call] = deque()
        self._suspect: _Call | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []

    async def open(self, address: Address) -> None:
        """Connect and say hello. Raises OSError or FleetDown."""
        loop = self._loop
        async with asyncio.timeout(self._deadline_s):
            if address.path is not None:
                await loop.create_unix_connection(lambda: self, address.path)
            else:
                await loop.create_connection(lambda: self, address.host, address.port, ssl=address.tls)
        hello: Words = (b"HELLO", 3)
        if address.password is not None:
            hello = (*hello, b"AUTH", address.user or "default", address.password)
        select: Words = (b"SELECT", address.database)
        await asyncio.gather(*(self.ask(words) for words in (hello, select)[: 2 if address.database else 1]))

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self._transport is not None

    def ask(self, words: Words, heard: Heard | None = None) -> "asyncio.Future[Any]":
        """Send a command; its answer, or what `heard` makes of it. It fails with FleetDown."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._send(words, future, heard, None)
        return future

    def call(
        self, script: Script, keys: Words, arguments: Words, heard: Callable[[Any], T]
    ) -> "asyncio.Future[T]":
        """Run a script: one round trip. `heard` is run even when nobody waits for the answer any more."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._send((b"EVALSHA", script.digest, len(keys), *keys, *arguments), future, heard, script)
        return future

    def tell(self, script: Script, keys: Words, arguments: Words, heard: Heard | None = None) -> None:
        """As `call`, with nobody waiting: when the connection ends before the answer, nothing is heard."""
        self._send((b"EVALSHA", script.digest, len(keys), *keys, *arguments), None, heard, script)

    def subscribe(self, channels: Words) -> None:
        """Have messages on these channels passed on. It has no answer of its own."""
        self._write((b"SUBSCRIBE", *channels))

    def _send(
        self,
        words: Words,
        future: "asyncio.Future[Any] | None",
        heard: Heard | None,
        script: Script | None,
    ) -> None:
        self._calls.append(_Call(future, heard, self._loop.time(), words, script))
        if len(self._calls) > UNANSWERED_MAX:
            self.lose(f"{UNANSWERED_MAX} calls without an answer")
            return
        self._write(words)
        if self._timer is None:
            self._timer = self._loop.call_later(self._deadline_s * (1 - SECOND_LOOK), self._look)

    def _write(self, words: Words) -> None:
        if self._transport is None:
            self.lose("the connection is closed")
            return
        if not self._unsent:
            self._loop.call_soon(self._flush)
        # Its annotation allows one word only.
        self._unsent.append(hiredis.pack_command(words))  # type: ignore[arg-type]

    def _flush(self) -> None:
        """Send what requests have asked for since the event loop last looked for news: one write, which wakes
        Redis once."""
        unsent, self._unsent = self._unsent, []
        if self._transport is not None:
            self._transport.write(b"".join(unsent))

    def _look(self) -> None:
        """Whether the oldest call has waited too long. One timer for all of them."""
        self._timer = None
        if not self._calls:
            return
        oldest = self._calls[0]
        first_look_s = oldest.asked_s + self._deadline_s * (1 - SECOND_LOOK)
        if self._suspect is oldest:
            self.lose(f"no answer within {self._deadline_s:g} s")
        elif self._loop.time() >= first_look_s:
            self._suspect = oldest
            self._timer = self._loop.call_later(self._deadline_s * SECOND_LOOK, self._look)
        else:
            self._timer = self._loop.call_at(first_look_s, self._look)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        # By its annotation: uvloop's transports are no asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self.lose(str(exc) if exc else "it closed the connection")

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._reader.feed(data)
        try:
            while self._transport is not None and (reply := self._reader.gets()) is not _NOTHING:
                if isinstance(reply, hiredis.PushNotification):
                    if reply[0] == b"message":
                        self._on_message(reply[1], reply[2])
                elif not self._calls:
                    return self.lose(f"an answer without a question: {reply!r:.80}")
                elif isinstance(reply, hiredis.ReplyError):
                    self._refused(self._calls.popleft(), str(reply))
                else:
                    self._answered(self._calls.popleft(), reply)
        except hiredis.ProtocolError as wrong:
            self.lose(f"what it says is no RESP: {wrong}")

    def _answered(self, call: _Call, reply: Any) -> None:
        result = reply if call.heard is None else call.heard(reply)
        if call.future is not None and not call.future.done():
            call.future.set_result(result)

    def _refused(self, call: _Call, error: str) -> None:
        if error.startswith("NOSCRIPT") and call.script is not None:
            words = (b"EVAL", call.script.text, *call.words[2:])
            self._calls.append(_Call(call.future, call.heard, call.asked_s, words, None))
            self._write(words)
            return
        self._calls.appendleft(call)
        self.lose(error)

    def lose(self, reason: str) -> None:
        """End the connection; every call without an answer fails. Later calls of this do nothing."""
        transport, self._transport = self._transport, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        calls, self._calls = self._calls, deque()
        for call in calls:
            if call.future is not None and not call.future.done():
                call.future.set_exception(FleetDown(reason))
        if transport is not None:
            transport.abort()
            self._on_lost(self, reason)

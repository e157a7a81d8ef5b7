"""A TCP proxy in front of a PostgreSQL or Redis server that makes what lies between them fail or slow."""

import asyncio
import random
import threading
from collections import deque
from collections.abc import Coroutine
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from postgres_protocol import Conversation

PATIENCE_S = 10.0
T = TypeVar("T")

DEFAULT_PORTS = {"postgresql": 5432, "postgres": 5432, "redis": 6379}


class FaultProxy:
    """Listens on 127.0.0.1 and passes connections on to a server. It runs in a thread of its own; use it as a
    context manager. Its settings may be changed at any time, and apply to open connections as well.

    `delay_s`: added to everything the server sends, in seconds. Connections do not wait for each other.
    `commit_delay_s`: added to the answers to COMMIT (PostgreSQL only), on top of `delay_s`.
    `lose_commits`: the probability, 0 to 1, that a COMMIT (PostgreSQL only) is passed on and answered, but
    its connection is dropped in place of passing the answer back. The client cannot know what became of it.
    `refuse`: whether new connections are closed at once. Open ones stay; see `cut_all`.

    A COMMIT is one by its text (COMMIT or END, alone, as a simple query or a prepared statement) or by the
    server's word that a statement committed a transaction. The implicit commit of a statement outside a
    transaction block is none."""

    def __init__(self, server_url: str, *, rng: random.Random | None = None) -> None:
        """`server_url` is postgresql:// or redis://; of it, the host and the port are used. `rng` decides
        which commits are lost; by default one with a fixed seed."""
        parts = urlsplit(server_url)
        self.target = (parts.hostname or "127.0.0.1", parts.port or DEFAULT_PORTS[parts.scheme])
        self.speaks_postgresql = parts.scheme.startswith("postgres")
        self.rng = rng or random.Random(0)
        self.delay_s = 0.0
        self.commit_delay_s = 0.0
        self.lose_commits = 0.0
        self.refuse = False
        self.commits = 0
        """How many answers to COMMIT have come from the server, lost ones included."""
        self.lost = 0
        """How many of them were lost."""
        self.connections: set[_Client] = set()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="fault-proxy", daemon=True)
        self._listener: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._listener = self._in_loop(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._in_loop(self._end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE_S)
        self.loop.close()

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        assert self._listener is not None, "the proxy is not started"
        return int(self._listener.sockets[0].getsockname()[1])

    def url_for(self, server_url: str) -> str:
        """An address of the server (any database of it), with this proxy's host and port in it."""
        parts = urlsplit(server_url)
        user = parts.netloc.rpartition("@")[0]
        place = f"127.0.0.1:{self.port}"
        return parts._replace(netloc=f"{user}@{place}" if user else place).geturl()

    def cut_all(self) -> int:
        """Drop every open connection; returns how many there were. Answers that wait out a delay are lost."""
        return self._in_loop(self._cut())

    async def _listen(self) -> asyncio.Server:
        return await self.loop.create_server(lambda: _Client(self), "127.0.0.1", 0, backlog=1024)

    async def _cut(self) -> int:
        cut = list(self.connections)
        for client in cut:
            client.drop()
        return len(cut)

    async def _end(self) -> None:
        assert self._listener is not None
        self._listener.close()
        await self._cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # one turn of the loop, in which the transports close their sockets

    def _in_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE_S)


class _Client(asyncio.Protocol):
    """A client's connection, and what has to happen before an answer may go to it. asyncio sets TCP_NODELAY
    on every TCP socket."""

    transport: asyncio.Transport

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        self.server: asyncio.Transport | None = None
        self.conversation = Conversation() if proxy.speaks_postgresql else None
        self.connecting: asyncio.Task[None] | None = None
        self.early = b""
        """What the client sent before the server was reached."""
        self.held = b""
        """The part of an answer to COMMIT that has come. Its fate is decided when it is whole."""
        self.delayed: deque[tuple[float, bytes]] = deque()
        self.timer: asyncio.TimerHandle | None = None
        self.server_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self.proxy.refuse:
            transport.abort()
            return
        self.proxy.connections.add(self)
        self.connecting = self.proxy.loop.create_task(self.connect())

    async def connect(self) -> None:
        try:
            server, _ = await self.proxy.loop.create_connection(lambda: _Server(self), *self.proxy.target)
        except OSError:
            self.drop()
            return
        self.server = server
        self.data_received(self.early)

    def data_received(self, data: bytes) -> None:
        if self.server is None:
            self.early += data
            return
        if self.conversation is not None:
            data, declined = self.conversation.sent(data)
            if declined:
                self.transport.write(declined)
        if data:
            self.server.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.proxy.connections.discard(self)
        if self.connecting is not None:
            self.connecting.cancel()
        if self.timer is not None:
            self.timer.cancel()
        if self.server is not None:
            self.server.close()

    def pause_writing(self) -> None:
        if self.server is not None:
            self.server.pause_reading()

    def resume_writing(self) -> None:
        if self.server is not None:
            self.server.resume_reading()

    def drop(self) -> None:
        """End both sides at once."""
        self.transport.abort()
        if self.server is not None:
            self.server.abort()

    def answer(self, data: bytes) -> None:
        """Bytes from the server."""
        proxy = self.proxy
        if self.conversation is None:
            self.pass_on(data, proxy.delay_s)
            return
        for answer in self.conversation.answered(data):
            if not answer.commit:
                self.pass_on(answer.data, proxy.delay_s)
                continue
            self.held += answer.data
            if answer.last:
                proxy.commits += 1
                if proxy.lose_commits and proxy.rng.random() < proxy.lose_commits:
                    proxy.lost += 1
                    self.drop()
                    return
                self.pass_on(self.held, proxy.delay_s + proxy.commit_delay_s)
                self.held = b""

    def server_lost(self) -> None:
        """The server closed: so does the proxy, after what the server has said before."""
        self.server_ended = True
        self.pass_on(self.held, self.proxy.delay_s)
        if not self.delayed:
            self.transport.close()

    def pass_on(self, data: bytes, delay_s: float) -> None:
        if not self.delayed and delay_s <= 0:
            self.transport.write(data)
            return
        due = self.proxy.loop.time() + delay_s
        if self.delayed:
            due = max(due, self.delayed[-1][0])  # never before what came first
        else:
            self.timer = self.proxy.loop.call_at(due, self.release)
        self.delayed.append((due, data))

    def release(self) -> None:
        """Write what is due."""
        now = self.proxy.loop.time()
        self.transport.write(self.delayed.popleft()[1])  # the timer was for this one
        while self.delayed and self.delayed[0][0] <= now:
            self.transport.write(self.delayed.popleft()[1])
        if self.delayed:
            self.timer = self.proxy.loop.call_at(self.delayed[0][0], self.release)
        elif self.server_ended:
            self.transport.close()


class _Server(asyncio.Protocol):
    """The connection to the server that belongs to a client's."""

    def __init__(self, client: _Client) -> None:
        self.client = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self.client.transport.is_closing():
            assert isinstance(transport, asyncio.Transport)
            transport.abort()

    def data_received(self, data: bytes) -> None:
        self.client.answer(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.client.server_lost()

    def pause_writing(self) -> None:
        self.client.transport.pause_reading()

    def resume_writing(self) -> None:
        self.client.transport.resume_reading()

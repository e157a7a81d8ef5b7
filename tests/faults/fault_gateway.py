"""The edge and everything behind it under uvicorn, without LiteLLM's proxy: a thread with its own event loop,
and a folder with config and store."""

import asyncio
import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fault_rows import Config
from fault_rules import COOLS, COUNTS, NONE
from processes import until

from llmdeal_litellm.accounts.admin import Admin
from llmdeal_litellm.catalog.load import load_catalog
from llmdeal_litellm.catalog.model import Wallet
from llmdeal_litellm.gateway import Gateway
from llmdeal_litellm.ledger.stores import SqliteStore
from llmdeal_litellm.ledger.verify import verify
from llmdeal_litellm.policy.breaker import State
from llmdeal_litellm.seams.edge import Edge
from llmdeal_litellm.seams.http import Receive, Scope, Send
from llmdeal_litellm.settings import read_settings

FUNDS_NANO = 10**13
MOVEMENTS = {State.CLOSED: NONE, State.OPEN: COUNTS, State.COOLING: COOLS}
"""What a deployment is after its first call, where one failure opens a breaker."""


class FaultGateway:
    """One gateway. Use `running`."""

    def __init__(self, folder: Path, config: Config) -> None:
        path = folder / "config.yaml"
        path.write_text(json.dumps(config))
        self._settings = read_settings({"LLMDEAL_CONFIG": str(path)})
        self._catalog = load_catalog(path.read_text(), path.name, {}).catalog
        self._gateway: Gateway
        self._loop: asyncio.AbstractEventLoop
        self._edge: Edge
        self.url = ""

    @property
    def database(self) -> Path:
        """The file with the accounts and the money."""
        store = self._settings.store
        assert isinstance(store, SqliteStore)
        return store.path

    @contextmanager
    def running(self) -> Iterator["FaultGateway"]:
        """Serve on a free port until the context ends."""
        settings = uvicorn.Config(
            self._app,
            port=0,
            interface="asgi3",
            http="httptools",
            ws="none",
            lifespan="on",
            log_config=None,
            server_header=False,
            backlog=1024,
        )
        server = uvicorn.Server(settings)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            until(lambda: server.started or not thread.is_alive(), patience_s=60, what="the gateway to start")
            assert server.started, "the gateway did not start"
            self.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
            yield self
        finally:
            server.should_exit = True
            thread.join()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._edge(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._loop = asyncio.get_running_loop()
        self._gateway = Gateway(self._settings, self._catalog)
        self._gateway.start()
        self._edge = Edge(_hidden, self._gateway.services)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        assert await self._gateway.stop() == 0
        await send({"type": "lifespan.shutdown.complete"})

    def key(self) -> str:
        """A key of a new account with money."""
        now_us = time.time_ns() // 1000
        with closing(self._settings.store.open()) as database:
            admin = Admin(database, self._settings.key_pepper)
            account = admin.create_account(
                "faults", "pro", random_8_bytes=secrets.token_bytes(8), now_us=now_us
            )
            admin.credit(account, Wallet.BASE, FUNDS_NANO, note="", now_us=now_us)
            random = secrets.token_bytes(24)
            return admin.mint_key(account, random_24_bytes=random, now_us=now_us)[1]

    def breaker_movement(self, deployments: tuple[str, ...]) -> tuple[str, ...]:
        """What each of these deployments' only call so far has done to it."""

        async def states() -> Mapping[str, State]:
            return {one.deployment: one.state for one in self._gateway.services.health.states()}

        found = asyncio.run_coroutine_threadsafe(states(), self._loop).result()
        return tuple(MOVEMENTS.get(found[name], found[name].value) for name in deployments)

    def ends(self) -> dict[str, dict[str, Any]]:
        """The record of each request's end, once no hold is open."""
        with closing(sqlite3.connect(self.database)) as connection:
            open_holds = "SELECT count(*) FROM open_holds"
            until(lambda: connection.execute(open_holds).fetchone() == (0,), what="every hold to end")
            cursor = connection.execute("SELECT * FROM records WHERE kind IN ('post', 'void')")
            names = [column[0] for column in cursor.description]
            return {row["request_id"]: row for row in (dict(zip(names, r, strict=True)) for r in cursor)}

    def broken_invariants(self) -> list[str]:
        """What `llmdeal ledger verify` would find."""
        with closing(self._settings.store.open()) as database:
            checks = verify(database, now_us=time.time_ns() // 1000)
        return [str(check) for check in checks if not check.ok]


async def _hidden(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("the edge let a request through")

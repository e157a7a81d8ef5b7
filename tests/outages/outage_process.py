"""One worker as a process that costs little: the gateway's edge and all that is behind it under uvicorn,
without LiteLLM's proxy, forked from a process that has imported everything."""

import logging
import multiprocessing
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import uvicorn
from prometheus_client import generate_latest

from llmdeal_litellm.catalog.load import load_catalog
from llmdeal_litellm.gateway import CannotStart, Gateway, new_request_id
from llmdeal_litellm.seams import server
from llmdeal_litellm.seams.edge import Edge
from llmdeal_litellm.seams.http import Receive, Scope, Send
from llmdeal_litellm.settings import read_settings

METRICS = "/of-the-test/metrics"
START_FAILED = 3
"""The exit status of a worker that could not start, as LiteLLM's has it."""
PRELOADED = [
    "llmdeal_litellm.gateway",
    "llmdeal_litellm.seams.edge",
    "llmdeal_litellm.seams.server",
    "prometheus_client",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.loops.auto",
    "uvicorn.lifespan.on",
]

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(PRELOADED)


@dataclass(frozen=True)
class Order:
    """What a worker is started with. `fleet` is the number of workers that it is told of."""

    config: Path
    environment: Mapping[str, str]
    log: Path
    fleet: int


def run(order: Order, started: Connection) -> None:
    """Serve until SIGTERM. Sends the port to `started` once it serves, or the sentence of a failed start."""
    with order.log.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    logging.getLogger("llmdeal").setLevel(logging.INFO)
    logging.getLogger("llmdeal.request").setLevel(logging.WARNING)
    served = _Worker(order, started)
    settings = uvicorn.Config(
        served.app,
        port=0,
        interface="asgi3",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        server_header=False,
        backlog=1024,
    )
    _Server(settings, started).run()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Connection) -> None:
        super().__init__(config)
        self._started = started

    async def startup(self, sockets: object = None) -> None:
        """Say where it listens."""
        await super().startup()
        self._started.send(self.servers[0].sockets[0].getsockname()[1])


class _Worker:
    def __init__(self, order: Order, started: Connection) -> None:
        self._order = order
        self._started = started
        self._gateway: Gateway
        self._edge: Edge

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The edge, and the counters beside it."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["path"] == METRICS:
            body = generate_latest(self._gateway.services.metrics.registry)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})
        else:
            await self._edge(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            settings = read_settings(self._order.environment, served_config=self._order.config)
            catalog = load_catalog(self._order.config.read_text(), "config.yaml", {}).catalog
            self._gateway = Gateway(settings, catalog, self._order.fleet)
            self._gateway.start()
        except CannotStart as refused:
            self._started.send(str(refused))
            os._exit(START_FAILED)
        server.adjust(drain_s=catalog.deadlines.drain_s, new_request_id=new_request_id)
        self._edge = Edge(_hidden, self._gateway.services)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        left = await self._gateway.stop()
        print(f"stopped with {left} settlements that could not be written", file=sys.stderr)
        await send({"type": "lifespan.shutdown.complete"})


async def _hidden(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("the edge let a request through")

"""One gateway under uvicorn, as LiteLLM starts it but without LiteLLM's proxy: `python served.py CONFIG`.

Prints its address once it accepts connections, and for each line on its standard input one line of JSON: what
its event loop holds then. It ends with its standard input.
"""

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn

from llmdeal_litellm.catalog.load import load_catalog
from llmdeal_litellm.catalog.model import Egress
from llmdeal_litellm.gateway import Gateway, new_request_id
from llmdeal_litellm.seams import server as http_server
from llmdeal_litellm.seams.edge import Edge
from llmdeal_litellm.seams.http import Receive, Scope, Send
from llmdeal_litellm.settings import read_settings

LOOK_PATIENCE_S = 30.0


class Served:
    """The application, and the server in which it runs."""

    def __init__(self, config: str) -> None:
        self._settings = read_settings({"LLMDEAL_CONFIG": config})
        self._catalog = load_catalog(Path(config).read_text(), config, {}).catalog
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._app,
                port=0,
                interface="asgi3",
                loop="uvloop",
                http="httptools",
                lifespan="on",
                log_config=None,
                server_header=False,
                backlog=1024,
            )
        )
        self._seen = 0
        self._gateway: Gateway
        self._edge: Edge

    def run(self) -> None:
        """Serve until standard input ends."""
        self._server.run()

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        self._seen += 1
        await self._edge(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        loop = asyncio.get_running_loop()
        self._gateway = Gateway(self._settings, self._catalog)
        self._gateway.start()
        self._edge = Edge(_hidden, self._gateway.services)
        http_server.adjust(drain_s=self._catalog.deadlines.drain_s, new_request_id=new_request_id)
        threading.Thread(target=self._tell, args=(loop,), daemon=True).start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        assert await self._gateway.stop() == 0
        await send({"type": "lifespan.shutdown.complete"})

    def _tell(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say where it listens, then what is asked for."""
        while not self._server.started:
            threading.Event().wait(0.01)
        host, port = self._server.servers[0].sockets[0].getsockname()
        print(f"http://{host}:{port}", flush=True)
        try:
            for _ in sys.stdin:
                asked = asyncio.run_coroutine_threadsafe(self._look(), loop)
                print(json.dumps(asked.result(LOOK_PATIENCE_S)), flush=True)
        finally:
            # Also when a look fails: whoever waits for it is told by the end.
            self._server.should_exit = True

    async def _look(self) -> dict[str, Any]:
        me = asyncio.current_task()
        connector: Any = self._gateway._transports[Egress.CONFIGURED]._session.connector
        connections: Any = self._server.server_state.connections
        return {
            "tasks": sorted(" > ".join(_chain(task)) for task in asyncio.all_tasks() if task is not me),
            "callers": len(connections),
            "unsent": max((c.transport.get_write_buffer_size() for c in connections), default=0),
            "upstreams_busy": len(connector._acquired),
            "upstreams_idle": sum(map(len, connector._conns.values())),
            "seen": self._seen,
        }


def _chain(task: "asyncio.Task[Any]") -> Iterator[str]:
    """The coroutines that a task is in, the outermost first."""
    found: Any = task.get_coro()
    while found is not None and hasattr(found, "__qualname__"):
        yield found.__qualname__
        found = getattr(found, "cr_await", None)


async def _hidden(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("the edge let a request through")


if __name__ == "__main__":
    Served(sys.argv[1]).run()

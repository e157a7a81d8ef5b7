"""What the simulator remembers, and the `/control/…` paths through which a test reads and steers it."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from llmdeal_litellm.simulator.faults.address import BadFault, Faults
from llmdeal_litellm.simulator.scripts import BadScript, Scripts

Json = dict[str, Any]

REQUESTS_MAX = 2_000
RECORDED_BYTES_MAX = 64 * 1024 * 1024
BARRIER_S = 120.0
WAIT_S_MAX = 120.0
DEFAULT_WAIT_S = 10.0


class State:
    """Counters, recorded requests, the barrier and the scripts of one simulator process."""

    def __init__(self) -> None:
        self.scripts = Scripts()
        self.faults = Faults()
        self.count = 0
        """Provider requests recorded since the start; clearing the records does not lower it."""
        self.open = 0
        """Provider requests that are being answered or are waiting now."""
        self.waiting = 0
        """Those of them that wait at the barrier."""
        self.hangups = 0
        """Requests whose client left before the answer was complete."""
        self.stopping = False
        self._requests: deque[tuple[int, Json]] = deque()
        self._recorded_bytes = 0
        self._passage = asyncio.Event()
        self._passage.set()
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Wake whoever waits for a counter."""
        self._changed.set()
        self._changed = asyncio.Event()

    def hang_up(self) -> None:
        """A client left early. At the end of the process it is the simulator that leaves."""
        if not self.stopping:
            self.hangups += 1

    def record(self, entry: Json, size_bytes: int) -> None:
        """Remember a request; the oldest go first when there are too many or too much of them."""
        self.count += 1
        self._requests.append((size_bytes, {"seq": self.count, "time": time.time(), **entry}))
        self._recorded_bytes += size_bytes
        while len(self._requests) > REQUESTS_MAX or self._recorded_bytes > RECORDED_BYTES_MAX:
            size, _ = self._requests.popleft()
            self._recorded_bytes -= size
        self.changed()

    def requests(self) -> list[Json]:
        return [entry for _, entry in self._requests]

    def forget(self) -> None:
        self._requests.clear()
        self._recorded_bytes = 0

    @property
    def barrier_closed(self) -> bool:
        return not self._passage.is_set()

    def close_barrier(self) -> None:
        self._passage.clear()

    def open_barrier(self) -> None:
        self._passage.set()

    async def pass_barrier(self) -> None:
        """Wait until the barrier is open, at most BARRIER_S."""
        if self._passage.is_set():
            return
        self.waiting += 1
        self.changed()
        try:
            async with asyncio.timeout(BARRIER_S):
                await self._passage.wait()
        except TimeoutError:
            # A forgotten barrier must not hold a test suite for ever: the request goes on.
            pass
        finally:
            self.waiting -= 1
            self.changed()

    async def until(self, reached: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until a counter is where it should be; False when the time ran out first."""
        try:
            async with asyncio.timeout(min(timeout_s, WAIT_S_MAX)):
                while not reached():
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True


STATE = web.AppKey("state", State)


def routes() -> list[web.RouteDef]:
    """The control surface; the provider paths are not among them."""
    return [
        web.get("/control/requests", _requests),
        web.delete("/control/requests", _forget),
        web.get("/control/count", _counter("count", lambda state: state.count)),
        web.get("/control/waiting", _counter("waiting", lambda state: state.waiting)),
        web.get("/control/open", _counter("open", lambda state: state.open)),
        web.get("/control/hangups", _counter("hangups", lambda state: state.hangups)),
        web.post("/control/barrier/close", _close),
        web.post("/control/barrier/open", _open),
        web.get("/control/script", _scripts),
        web.post("/control/script", _script),
        web.delete("/control/script", _no_scripts),
        web.get("/control/fault", _faults),
        web.post("/control/fault", _fault),
        web.delete("/control/fault", _no_faults),
        web.post("/control/reset", _reset),
    ]


def answer(body: Any, status: int = 200) -> web.Response:
    """A JSON answer of the control surface."""
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


async def _requests(request: web.Request) -> web.Response:
    state = request.app[STATE]
    since = _integer(request, "since", 0)
    last = _integer(request, "last", REQUESTS_MAX)
    fault = request.query.get("fault")
    entries = [
        entry for entry in state.requests() if entry["seq"] > since and fault in (None, entry["fault"])
    ]
    return answer({"count": state.count, "requests": entries[-last:] if last > 0 else []})


async def _forget(request: web.Request) -> web.Response:
    request.app[STATE].forget()
    return answer({"count": request.app[STATE].count})


def _counter(name: str, read: Callable[[State], int]) -> Callable[[web.Request], Any]:
    """A handler for one number; `at_least`, `at_most` and `timeout_s` make it wait for the number."""

    async def handler(request: web.Request) -> web.Response:
        state = request.app[STATE]
        least = _integer(request, "at_least", 0)
        most = _integer(request, "at_most", 10**12)
        timeout_s = float(_integer(request, "timeout_s", int(DEFAULT_WAIT_S)))
        reached = await state.until(lambda: least <= read(state) <= most, timeout_s)
        body = {name: read(state), "reached": reached}
        if name == "waiting":
            body["closed"] = state.barrier_closed
        return answer(body, 200 if reached else 408)

    return handler


async def _close(request: web.Request) -> web.Response:
    request.app[STATE].close_barrier()
    return answer({"closed": True})


async def _open(request: web.Request) -> web.Response:
    request.app[STATE].open_barrier()
    return answer({"closed": False})


async def _scripts(request: web.Request) -> web.Response:
    return answer({"scripts": request.app[STATE].scripts.left()})


async def _script(request: web.Request) -> web.Response:
    try:
        given = orjson.loads(await request.read())
        if not isinstance(given, dict):
            raise BadScript("a script is a JSON object")
        request.app[STATE].scripts.add(given)
    except (BadScript, orjson.JSONDecodeError, TypeError, ValueError) as error:
        return answer({"error": str(error)}, 400)
    return await _scripts(request)


async def _faults(request: web.Request) -> web.Response:
    return answer({"faults": request.app[STATE].faults.left()})


async def _fault(request: web.Request) -> web.Response:
    try:
        given = orjson.loads(await request.read())
        if not isinstance(given, dict):
            raise BadFault("a fault is a JSON object")
        request.app[STATE].faults.plan(given)
    except (BadFault, orjson.JSONDecodeError) as error:
        return answer({"error": str(error)}, 400)
    return await _faults(request)


async def _no_faults(request: web.Request) -> web.Response:
    request.app[STATE].faults.clear_planned()
    return await _faults(request)


async def _no_scripts(request: web.Request) -> web.Response:
    request.app[STATE].scripts.clear()
    return await _scripts(request)


async def _reset(request: web.Request) -> web.Response:
    """Everything between two tests: no scripts and faults, an open barrier, no records, no hang-ups."""
    state = request.app[STATE]
    state.scripts.clear()
    state.faults.clear()
    state.open_barrier()
    state.forget()
    state.hangups = 0
    return answer({"count": state.count, "open": state.open})


def _integer(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, "")
    return int(text) if text.isdecimal() else default

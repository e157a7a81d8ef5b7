"""The simulator's HTTP application: provider paths, the control surface, and one request's way through.

Provider paths start with `/{provider}/`; what follows is the wire's. A request is recorded, waits at the
barrier if it is closed, then is checked (key, JSON, refusal table, window), and answered, or what its address
or a script says is done instead. A refused request does not use up a script or a fault.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from aiohttp import web

from llmdeal_litellm.simulator import answers, control, delivery, errors, models
from llmdeal_litellm.simulator.control import STATE, State
from llmdeal_litellm.simulator.faults import address as fault_address
from llmdeal_litellm.simulator.faults.address import Address, BadFault, Fault
from llmdeal_litellm.simulator.faults.serving import Faulty
from llmdeal_litellm.simulator.faults.table import EMBEDDINGS_TOO
from llmdeal_litellm.simulator.providers import PROVIDERS
from llmdeal_litellm.simulator.scripts import Script
from llmdeal_litellm.simulator.wires import wire_of
from llmdeal_litellm.simulator.wires.wire import HONEST, Call, Told, Wire

Json = dict[str, Any]
Made = TypeVar("Made")

BODY_BYTES_MAX = 8 * 1024 * 1024
OFF_LOOP_BYTES = 32 * 1024
"""Counting the tokens of a longer body would hold up the other requests, so it goes to a thread."""


def build() -> web.Application:
    """The application; one State a process."""
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app[STATE] = State()
    app.add_routes(control.routes())
    app.router.add_route("*", "/control/{rest:.*}", _unknown_control)
    app.router.add_route("*", "/{rest:.*}", _provider)
    return app


async def _unknown_control(request: web.Request) -> web.Response:
    return control.answer({"error": f"no {request.method} {request.path} here"}, 404)


async def _provider(request: web.Request) -> web.StreamResponse:
    """Count and record whatever comes, and tell a client's hang-up from everything else."""
    state = request.app[STATE]
    state.open += 1
    state.changed()
    try:
        return await _serve(request, state)
    except delivery.SelfCut:
        return web.Response(status=500)
    except asyncio.CancelledError:
        state.hang_up()
        raise
    except ConnectionError:
        # Nobody reads this answer; returning one keeps aiohttp from logging a hang-up as a fault of ours.
        state.hang_up()
        return web.Response(status=499)
    finally:
        state.open -= 1
        state.changed()


async def _serve(request: web.Request, state: State) -> web.StreamResponse:
    path, fault = fault_address.split(request.path)
    first, _, rest = path.lstrip("/").partition("/")
    provider = first if first in PROVIDERS else "generic"
    wire = wire_of(provider)
    try:
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge:
        return await delivery.send_failure(
            request, provider, errors.failure(provider, 413, "Request too large")
        )
    body = _json(raw)
    _record(request, state, _Place(path=path, provider=first, fault=fault), raw, body)
    if (wrong := _unknown(fault)) is not None:
        return wrong
    found: Call | errors.Failure = errors.not_found(provider, request.method, "/" + rest)
    if first in PROVIDERS:
        found = wire.find(provider, request.method, rest, request.query)
    if isinstance(found, errors.Failure):
        return await delivery.send_failure(request, provider, found)
    await state.pass_barrier()
    failed = wire.admit(provider, request.headers, request.query)
    if failed is None and found.endpoint == "models":
        listed = [{"id": name, "object": "model", "owned_by": "me"} for name in models.LISTED]
        return await delivery.send_json(request, provider, {"object": "list", "data": listed}, None)
    if failed is None and not isinstance(body, dict):
        failed = errors.bad_json(provider)
    if failed is not None:
        return await delivery.send_failure(request, provider, failed)
    try:
        return await _Exchange(request, state, provider, wire, found, fault, len(raw)).answer(body)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        # A field of a shape nobody foresaw (a number for a list) is the caller's mistake for real ones too.
        failed = errors.failure(provider, 400, f"Invalid body: {type(error).__name__}: {error}")
        return await delivery.send_failure(request, provider, failed)


def _json(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def _unknown(fault: Address | None) -> web.Response | None:
    """The 404 for an address that asks for what there is not: the simulator's own, in no provider's shape."""
    try:
        if fault is not None:
            fault_address.parse(fault.text)
    except BadFault as bad:
        return control.answer({"error": str(bad)}, 404)
    return None


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a request was sent to."""

    path: str
    provider: str
    fault: Address | None


def _record(request: web.Request, state: State, place: _Place, raw: bytes, body: Any) -> None:
    shown = body if body is not None or raw == b"null" else raw.decode("utf-8", errors="replace")
    pairs = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.raw_headers]
    entry = {
        "method": request.method,
        "path": place.path,
        "query": request.query_string,
        "provider": place.provider,
        "fault": place.fault.text if place.fault else None,
        "headers": pairs,
        "body": shown,
        "sha256": hashlib.sha256(raw).hexdigest(),
    }
    state.record(entry, len(raw) + sum(len(name) + len(value) for name, value in pairs))


class _Exchange:
    """One admitted request of one provider."""

    def __init__(
        self,
        request: web.Request,
        state: State,
        provider: str,
        wire: Wire,
        call: Call,
        fault: Address | None,
        size_bytes: int,
    ) -> None:
        self.request = request
        self.state = state
        self.provider = provider
        self.wire = wire
        self.call = call
        self.fault = fault
        self.size_bytes = size_bytes

    async def answer(self, given: Json) -> web.StreamResponse:
        """Refuse, or answer what was asked."""
        body = self.wire.read(self.call, given)
        refused = self.wire.refuse(self.provider, self.call, self.request.headers, body)
        if refused is not None:
            return await delivery.send_failure(self.request, self.provider, refused)
        return await (self._chat(body) if self.call.endpoint == "chat" else self._embeddings(body))

    async def _chat(self, body: Json) -> web.StreamResponse:
        parsed = await self._made(lambda: self.wire.parse(self.provider, self.call, body))
        too_long = errors.context_too_long(
            self.provider,
            prompt_tokens=parsed.prompt_tokens,
            window_tokens=models.window_tokens(parsed.model),
            output_tokens=parsed.limit_tokens or 0,
        )
        if too_long is not None:
            return await delivery.send_failure(self.request, self.provider, too_long)
        fault = self._take_fault()
        if fault is not None:
            return await self._faulty(fault).chat(self.call, parsed)
        script = self.state.scripts.take(self.provider, "chat", parsed.model)
        instead = await self._instead_of_answer(script, streams=parsed.streams)
        if instead is not None:
            return instead
        behaviour = script.behaviour if script else ""
        answer = self.wire.compose(parsed, force_length=behaviour == "length")
        if behaviour == "empty":
            answer = answers.Answer(content="", prompt_tokens=0, completion_tokens=0)
        told = _told(script)
        if parsed.streams:
            made = self.wire.stream(self.call, parsed, answer, told)
            return await delivery.send_stream(self.request, self.provider, parsed.model, made, script)
        whole = self.wire.plain(parsed, answer, told)
        return await delivery.send_json(self.request, self.provider, whole, script)

    def _take_fault(self) -> Fault | None:
        return self.state.faults.take(self.provider, self.fault)

    def _faulty(self, fault: Fault) -> Faulty:
        return Faulty(request=self.request, provider=self.provider, wire=self.wire, fault=fault)

    async def _embeddings(self, body: Json) -> web.StreamResponse:
        fault = self._take_fault()
        if fault is not None and fault.name in EMBEDDINGS_TOO:
            right = await self._made(lambda: self.wire.embed(self.provider, self.call, body, _told(None)))
            if not isinstance(right, errors.Failure):
                return await self._faulty(fault).vectors(right)
        script = self.state.scripts.take(self.provider, "embeddings", str(body["model"]))
        instead = await self._instead_of_answer(script, streams=False)
        if instead is not None:
            return instead
        made = await self._made(lambda: self.wire.embed(self.provider, self.call, body, _told(script)))
        if isinstance(made, errors.Failure):
            return await delivery.send_failure(self.request, self.provider, made)
        return await delivery.send_json(self.request, self.provider, made, script)

    async def _made(self, make: Callable[[], Made]) -> Made:
        """What `make` returns, made in a thread where the body is long."""
        return await asyncio.to_thread(make) if self.size_bytes > OFF_LOOP_BYTES else make()

    async def _instead_of_answer(self, script: Script | None, *, streams: bool) -> web.StreamResponse | None:
        """What a script sends in place of any answer, or None when an answer follows."""
        if script is None:
            return None
        match script.behaviour:
            case "status":
                failed = errors.scripted(self.provider, script.status)
                return await delivery.send_failure(self.request, self.provider, failed, script)
            case "html":
                made = delivery.header_set(self.provider, "", script, "text/html; charset=utf-8")
                return web.Response(body=delivery.HTML, headers=made)
            case "error_200" if not streams:
                body = errors.scripted(self.provider, script.status).body
                failed = errors.Failure(status=200, body=body)
                return await delivery.send_failure(self.request, self.provider, failed, script)
            case "hang" if not streams or not script.after_chunks:
                await delivery.hang(self.request)
        return None


def _told(script: Script | None) -> Told:
    """What the script tells about the frame of an answer."""
    behaviour = script.behaviour if script else ""
    usage: Any = HONEST
    if script and behaviour in ("usage", "usage_everywhere"):
        usage = script.usage
    return Told(
        created=int(time.time()),
        usage=None if behaviour == "no_usage" else usage,
        unasked=behaviour == "usage",
        everywhere=behaviour == "usage_everywhere",
        unfinished=behaviour == "clean_end",
        empty=behaviour == "empty",
    )

"""Answers a request with its fault."""

import time
from dataclasses import dataclass

import orjson
from aiohttp import web

from llmdeal_litellm.simulator.answers import ChatRequest
from llmdeal_litellm.simulator.delivery import header_set
from llmdeal_litellm.simulator.faults.address import Fault
from llmdeal_litellm.simulator.faults.deliveries import DELIVERIES, send
from llmdeal_litellm.simulator.faults.edits import EDITS, Edit, Said
from llmdeal_litellm.simulator.faults.framings import FRAMINGS
from llmdeal_litellm.simulator.faults.instead import INSTEAD
from llmdeal_litellm.simulator.faults.reply import Reply
from llmdeal_litellm.simulator.wires.wire import Call, Json, Told, Wire


@dataclass(frozen=True, kw_only=True)
class Faulty:
    """A request of a provider that is to go wrong."""

    request: web.Request
    provider: str
    wire: Wire
    fault: Fault

    async def chat(self, call: Call, parsed: ChatRequest) -> web.StreamResponse:
        """Answer a chat request."""
        if (instead := self._instead(streams=parsed.streams)) is not None:
            return await send(self.request, instead)
        said = Said(
            wire=self.wire,
            call=call,
            request=parsed,
            answer=self.wire.compose(parsed, force_length=False),
            told=Told(created=int(time.time())),
        )
        edit = EDITS.get(self.fault.name, Edit())
        said = edit.before(said)
        if not parsed.streams:
            return await self._deliver(self._whole(edit.plain(said), parsed.model))
        made = edit.chunks(said)
        frames = made.framing.frames([*made.head, *made.tail], ended=True)
        headers = header_set(self.provider, parsed.model, None, made.framing.content_type)
        frames += made.framing.done
        return await self._deliver(Reply(headers=headers, frames=frames, streamed=True))

    async def vectors(self, body: Json) -> web.StreamResponse:
        """Answer an embeddings request; `body` is the right answer."""
        instead = self._instead(streams=False)
        if instead is not None:
            return await send(self.request, instead)
        return await self._deliver(self._whole(orjson.dumps(body), str(body.get("model", ""))))

    def _instead(self, *, streams: bool) -> Reply | None:
        make = INSTEAD.get(self.fault.name)
        return None if make is None else make(self.request, self.provider, streams)

    def _whole(self, data: bytes, model: str) -> Reply:
        return Reply(headers=header_set(self.provider, model, None, "application/json"), frames=[data])

    async def _deliver(self, reply: Reply) -> web.StreamResponse:
        framed = FRAMINGS[self.fault.name](reply) if self.fault.name in FRAMINGS else reply
        return await DELIVERIES.get(self.fault.name, send)(self.request, framed, self.fault.ms)

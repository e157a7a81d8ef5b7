"""POST /v1/chat/completions and /v1/embeddings: admit, call, bill, answer."""

import logging
import time

from llmdeal_litellm import limits
from llmdeal_litellm.errors import GatewayError
from llmdeal_litellm.exchange import Exchange
from llmdeal_litellm.policy.answer import Answer, ChunkWriter, Delta, render_answer
from llmdeal_litellm.policy.chat_request import ChatRequest, parse_chat
from llmdeal_litellm.policy.embeddings import parse_embeddings, render_embeddings
from llmdeal_litellm.policy.strict_json import JsonObject
from llmdeal_litellm.policy.usage import NO_CLAIM, Billed, Claim, Rule
from llmdeal_litellm.seams.http import Headers, HttpExchange
from llmdeal_litellm.upstream.calls import Candidate
from llmdeal_litellm.upstream.failures import UpstreamFailure

log = logging.getLogger("llmdeal.upstream")

MARK_EVERY_S = 1.0


async def chat_completion(http: HttpExchange, exchange: Exchange) -> None:
    """One chat completion, plain or streamed."""
    request = parse_chat(await http.read_json(limits.BODY_BYTES_MAX))
    await http.until_hangup(_chat(http, exchange, request))


async def _chat(http: HttpExchange, exchange: Exchange, request: ChatRequest) -> None:
    candidate = await exchange.admit_chat(request, http.body_bytes)
    if request.stream:
        await _Stream(http, exchange, request).run(candidate)
    else:
        await _plain(http, exchange, request, candidate)


async def _plain(http: HttpExchange, exchange: Exchange, request: ChatRequest, candidate: Candidate) -> None:
    upstreams = exchange.services.upstreams
    try:
        answer = await upstreams.answer(
            candidate, exchange.alias, request.model, exchange.output_limit, exchange.dispatch
        )
    except UpstreamFailure as failure:
        raise _failed(exchange, failure) from None
    exchange.delivered.add(answer)
    billed = await _settled(exchange, answer, request)
    await http.respond(
        200, render_answer(exchange.identity(), answer, billed), _limit_header(exchange, request)
    )


def _failed(exchange: Exchange, failure: UpstreamFailure) -> GatewayError:
    """End the hold of a request whose upstream failed; returns what the caller is told."""
    log.warning("request %s failed at %s: %s", exchange.request_id, exchange.deployment_id, failure.detail)
    exchange.fail()
    return failure.shown()


async def _settled(exchange: Exchange, ending: Answer | Delta, request: ChatRequest) -> Billed:
    """End the hold of an answer that ended by itself; returns the usage that the caller is shown."""
    claim = ending.claim or NO_CLAIM
    billed = await exchange.bill(claim)
    rule = exchange.rule_for(ending.finish_reason or "", claim, stop_given=bool(request.stop))
    if rule is Rule.EMPTY_ANSWER:
        return await exchange.close_empty(billed, claim)
    exchange.close(rule, billed, claim)
    return billed


def _limit_header(exchange: Exchange, request: ChatRequest) -> Headers:
    """`x-llmdeal-output-limit` whenever the limit is ours and not the caller's."""
    if request.output_limit is not None and request.output_limit <= exchange.output_limit:
        return ()
    return ((b"x-llmdeal-output-limit", str(exchange.output_limit).encode()),)


class _Stream:
    """One streamed answer. Before the first piece nothing is sent, so that a failure is a plain error."""

    def __init__(self, http: HttpExchange, exchange: Exchange, request: ChatRequest) -> None:
        self._http = http
        self._exchange = exchange
        self._request = request
        self._writer = ChunkWriter(exchange.identity())
        self._claim: Claim = NO_CLAIM
        self._finish: str | None = None
        self._marked_at = 0.0

    async def run(self, candidate: Candidate) -> None:
        """Pass the answer on as it comes, then bill it and say how it ended."""
        exchange, request = self._exchange, self._request
        try:
            upstreams = exchange.services.upstreams
            async with upstreams.deltas(
                candidate, exchange.alias, request.model, exchange.output_limit, exchange.dispatch
            ) as batches:
                async for batch in batches:
                    await self._pass_on(batch)
                    if await exchange.overruns():
                        self._finish = "length"
                        break
        except UpstreamFailure as failure:
            await self._broke_off(_failed(exchange, failure))
            return
        await self._end()

    async def _pass_on(self, batch: list[Delta]) -> None:
        pieces: list[bytes] = []
        for delta in batch:
            if delta.claim is not None:
                self._claim = delta.claim
            if delta.finish_reason is not None:
                self._finish = delta.finish_reason
            if delta.has_output:
                self._exchange.delivered.add(delta)
                pieces.append(self._writer.delta(delta))
        if not pieces:
            return
        await self._start()
        await self._http.send_piece(b"".join(pieces))
        now = time.monotonic()
        if now - self._marked_at >= MARK_EVERY_S:
            self._marked_at = now
            await self._exchange.mark_delivered()

    async def _start(self) -> None:
        if not self._http.started:
            await self._http.start_stream(_limit_header(self._exchange, self._request))

    async def _end(self) -> None:
        reason = self._finish or "stop"
        ending = Delta(finish_reason=reason, claim=self._claim)
        billed = await _settled(self._exchange, ending, self._request)
        await self._start()
        tail = self._writer.finish(reason, billed, include_usage=self._request.include_usage)
        await self._http.send_piece(tail, last=True)

    async def _broke_off(self, error: GatewayError) -> None:
        """Before the first piece: a plain error. After it: one error event, no finish reason, no end mark."""
        if not self._http.started:
            raise error
        await self._http.end_stream(error)


async def embeddings(http: HttpExchange, exchange: Exchange) -> None:
    """One embeddings request."""
    body = await http.read_json(limits.BODY_BYTES_MAX)
    await http.until_hangup(_embeddings(http, exchange, body))


async def _embeddings(http: HttpExchange, exchange: Exchange, body: JsonObject) -> None:
    request = parse_embeddings(body, exchange.services.decode)
    member, call = await exchange.admit_embeddings(request, http.body_bytes)
    try:
        vectors, claim = await exchange.services.upstreams.vectors(
            call, member, exchange.alias, request.model, len(request.texts), exchange.dispatch
        )
    except UpstreamFailure as failure:
        raise _failed(exchange, failure) from None
    billed = exchange.bill_vectors(claim)
    rendered = await exchange.services.off_loop(
        sum(map(len, vectors)),
        lambda: render_embeddings(request.model, vectors, billed.input, as_base64=request.as_base64),
    )
    exchange.close(Rule.COMPLETED, billed, claim)
    await http.respond(200, rendered)

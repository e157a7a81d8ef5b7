"""POST /v1/chat/completions and /v1/embeddings: admit, call, bill, answer."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from llmdeal_litellm import limits
from llmdeal_litellm.accounts import answers
from llmdeal_litellm.errors import GatewayError
from llmdeal_litellm.exchange import Exchange
from llmdeal_litellm.policy.answer import KEEPALIVE, Answer, ChunkWriter, Delta, render_answer
from llmdeal_litellm.policy.chat_request import ChatRequest, parse_chat
from llmdeal_litellm.policy.embeddings import EmbeddingRequest, parse_embeddings, render_embeddings
from llmdeal_litellm.policy.strict_json import JsonObject
from llmdeal_litellm.policy.usage import NO_CLAIM, Billed, Claim, Rule
from llmdeal_litellm.repeats import HEADER, AnsweredBefore, repeatable
from llmdeal_litellm.seams.http import CallerLeft, Headers, HttpExchange
from llmdeal_litellm.serving import Serving
from llmdeal_litellm.upstream.calls import ChatCandidate
from llmdeal_litellm.upstream.codecs.wire import ChatPlan, UpstreamCall
from llmdeal_litellm.upstream.failures import UpstreamFailure
from llmdeal_litellm.upstream.route import Candidate
from llmdeal_litellm.watching import tell_of

Planned = TypeVar("Planned")
Answered = TypeVar("Answered")

MARK_EVERY_S = 1.0


async def chat_completion(http: HttpExchange, exchange: Exchange) -> None:
    """One chat completion, plain or streamed."""
    body = await http.read_json(limits.BODY_BYTES_MAX)
    request = parse_chat(body)
    _repeatable(http, exchange, "chat", body)
    await _once(http, exchange, _chat(http, exchange, request))


def _repeatable(http: HttpExchange, exchange: Exchange, path: str, body: JsonObject) -> None:
    """Note the request's Idempotency-Key, if it has one. Raises InvalidRequest."""
    if HEADER not in http.first:
        return
    account_id = exchange.known_caller.account_id
    exchange.repeatable = repeatable(exchange.services, account_id, http.headers, path, body)
    http.outlives_caller = True


def _once(http: HttpExchange, exchange: Exchange, work: Coroutine[Any, Any, None]) -> Awaitable[None]:
    """Do the work of a request while its client is there; one that may be a repetition: see `_or_again`."""
    return http.until_hangup(work if exchange.repeatable is None else _or_again(http, work))


async def _or_again(http: HttpExchange, work: Coroutine[Any, Any, None]) -> None:
    """Do the work, or give the answer that the same request got before."""
    try:
        await work
    except AnsweredBefore as before:
        answer = before.answer
        await http.respond_again(answer.body, _header(answer.output_limit), is_stream=answer.is_stream)


async def _chat(http: HttpExchange, exchange: Exchange, request: ChatRequest) -> None:
    serving = await exchange.admit_chat(request, http.body_bytes)
    if request.stream:
        await _Stream(http, exchange, request).run(serving)
    else:
        await _plain(http, exchange, request, serving)


async def _plain(
    http: HttpExchange, exchange: Exchange, request: ChatRequest, serving: Serving[ChatPlan]
) -> None:
    upstreams, alias = exchange.services.upstreams, exchange.alias

    def answer_of(candidate: ChatCandidate) -> Awaitable[Answer]:
        return upstreams.answer(candidate, alias, request.model, exchange.output_limit, exchange.dispatch)

    answer = await _first_that_answers(exchange, serving, answer_of)
    exchange.note_output()
    exchange.delivered.add([answer])
    our_limit = _our_limit(exchange, request)
    rendered = await _settled(
        exchange,
        answer,
        request,
        our_limit,
        lambda billed: render_answer(exchange.identity(), answer, billed),
    )
    await http.respond(200, rendered, _header(our_limit))


async def _first_that_answers(
    exchange: Exchange,
    serving: Serving[Planned],
    call: Callable[[Candidate[Planned]], Awaitable[Answered]],
) -> Answered:
    """A whole answer of the first candidate that gives one. Raises what the caller is told when none does."""
    while True:
        try:
            async with serving:
                return await call(serving.candidate)
        except UpstreamFailure as failure:
            if not exchange.another(failure):
                raise failure.shown() from None


async def _settled(
    exchange: Exchange,
    ending: Answer | Delta,
    request: ChatRequest,
    our_limit: int | None,
    render: Callable[[Billed], bytes],
) -> bytes:
    """End the hold of an answer that ended by itself; returns its bytes, or its last ones, which show the
    usage that was billed."""
    claim = ending.claim or NO_CLAIM
    billed = await exchange.bill(claim)
    tell_of(exchange, request, ending.finish_reason or "", claim)
    rule = exchange.rule_for(ending.finish_reason or "", claim, stop_given=bool(request.stop))
    rendered = render(billed)
    answer = answers.Answered(rendered, request.stream, our_limit)
    if rule is Rule.EMPTY_ANSWER:
        return render(await exchange.close_empty(billed, claim, answer))
    await exchange.close_answered(billed, claim, answer)
    return rendered


def _our_limit(exchange: Exchange, request: ChatRequest) -> int | None:
    """The output limit, whenever it is ours and not the caller's."""
    limit, asked = exchange.output_limit, request.output_limit
    return None if asked is not None and asked <= limit else limit


def _header(our_limit: int | None) -> Headers:
    return () if our_limit is None else ((b"x-llmdeal-output-limit", str(our_limit).encode()),)


class _Stream:
    """One streamed answer. Before the first piece nothing is sent, so that a failure is a plain error."""

    def __init__(self, http: HttpExchange, exchange: Exchange, request: ChatRequest) -> None:
        self._http = http
        self._exchange = exchange
        self._request = request
        self._writer: ChunkWriter | None = None
        self._claim: Claim = NO_CLAIM
        self._finish: str | None = None
        self._marked_at = 0.0
        self._said_at = 0.0
        self._keepalive_s = exchange.catalog.deadlines.keepalive_s
        self._listening: asyncio.TimerHandle | None = None
        self._keeping_alive: asyncio.Task[None] | None = None

    async def run(self, serving: Serving[ChatPlan]) -> None:
        """Pass the answer on as it comes, then bill it and say how it ended."""
        try:
            while True:
                self._claim, self._finish = NO_CLAIM, None
                try:
                    async with serving:
                        await self._pass_all_on(serving)
                    break
                except UpstreamFailure as failure:
                    if not self._exchange.another(failure):
                        await self._broke_off(failure.shown())
                        return
            await self._end()
        finally:
            for waiting in (self._listening, self._keeping_alive):
                if waiting is not None:
                    waiting.cancel()
            self._listening = self._keeping_alive = None

    async def _pass_all_on(self, serving: Serving[ChatPlan]) -> None:
        exchange, model = self._exchange, self._request.model
        upstreams = exchange.services.upstreams
        if serving.candidate.plan.whole:
            # It cannot be stopped half-way.
            await exchange.known_hold.cover_all()
        with await upstreams.deltas(
            serving.candidate, exchange.alias, model, exchange.output_limit, exchange.dispatch
        ) as batches:
            async for batch in batches:
                if await self._ended_in(batch):
                    break

    async def _ended_in(self, batch: list[Delta]) -> bool:
        """Pass what arrived on, as far as it may be; whether that is the end of the answer."""
        exchange = self._exchange
        for portion in exchange.known_hold.portions(batch, exchange.delivered):
            await self._pass_on(portion)
            if await exchange.must_end():
                # What is complete was not cut, though it was more than could be held for.
                self._finish = self._finish or "length"
                return True
        return False

    async def _pass_on(self, batch: list[Delta]) -> None:
        output: list[Delta] = []
        for delta in batch:
            if delta.claim is not None:
                self._claim = delta.claim
            if delta.finish_reason is not None:
                self._finish = delta.finish_reason
            # Nearly all have text; the property takes a call.
            if delta.content or delta.has_output:
                output.append(delta)
        if not output:
            return
        exchange, http = self._exchange, self._http
        exchange.delivered.add(output)
        piece = self._chunks().deltas(output)
        if not http.started:
            exchange.note_output()
            self._start()
        if exchange.repeatable is not None:
            exchange.repeatable.sent(piece)
        await http.send_piece(piece)
        now = self._said_at = time.monotonic()
        if now - self._marked_at >= MARK_EVERY_S:
            self._marked_at = now
            await exchange.mark_delivered()

    def _chunks(self) -> ChunkWriter:
        """Made at the first output, when it is certain who serves."""
        if self._writer is None:
            self._writer = ChunkWriter(self._exchange.identity())
        return self._writer

    def _start(self) -> None:
        self._http.start_stream(_header(_our_limit(self._exchange, self._request)))
        self._listen(self._keepalive_s)

    def _listen(self, seconds: float) -> None:
        """For silence. Most streams end before the timer fires, so none of them has a task from the start."""
        self._listening = asyncio.get_running_loop().call_later(seconds, self._has_listened)

    def _has_listened(self) -> None:
        wait_s = self._said_at + self._keepalive_s - time.monotonic()
        if wait_s > 0:
            self._listen(wait_s)
        else:
            self._keeping_alive = asyncio.create_task(self._keep_alive())

    async def _keep_alive(self) -> None:
        """A comment when the stream was silent for a while, so that proxies in between keep it open."""
        self._said_at = time.monotonic()
        with contextlib.suppress(CallerLeft):
            if not await self._http.send_comment(KEEPALIVE):
                return
            self._exchange.services.metrics.keepalives.inc()
        self._listen(self._keepalive_s)

    async def _end(self) -> None:
        reason = self._finish or "stop"
        ending = Delta(finish_reason=reason, claim=self._claim)
        include_usage = self._request.include_usage
        tail = await _settled(
            self._exchange,
            ending,
            self._request,
            _our_limit(self._exchange, self._request),
            lambda billed: self._chunks().finish(reason, billed, include_usage=include_usage),
        )
        if not self._http.started:
            self._start()
        await self._http.send_piece(tail, last=True)

    async def _broke_off(self, error: GatewayError) -> None:
        """Before the first piece: a plain error. After it: one error event, no finish reason, no end mark."""
        if not self._http.started:
            raise error
        self._exchange.fail()
        await self._http.end_stream(error)


async def embeddings(http: HttpExchange, exchange: Exchange) -> None:
    """One embeddings request."""
    body = await http.read_json(limits.BODY_BYTES_MAX)
    request = parse_embeddings(body, exchange.services.decode)
    _repeatable(http, exchange, "embeddings", body)
    await _once(http, exchange, _embeddings(http, exchange, request))


async def _embeddings(http: HttpExchange, exchange: Exchange, request: EmbeddingRequest) -> None:
    serving = await exchange.admit_embeddings(request, http.body_bytes)

    def vectors_of(candidate: Candidate[UpstreamCall]) -> Awaitable[tuple[list[list[float]], Claim]]:
        return exchange.services.upstreams.vectors(
            candidate, exchange.alias, request.model, len(request.texts), exchange.dispatch
        )

    vectors, claim = await _first_that_answers(exchange, serving, vectors_of)
    billed = exchange.bill_vectors(claim)
    rendered = await exchange.services.off_loop(
        sum(map(len, vectors)),
        lambda: render_embeddings(request.model, vectors, billed.input, as_base64=request.as_base64),
    )
    await exchange.close_answered(billed, claim, answers.Answered(rendered, is_stream=False))
    await http.respond(200, rendered)

"""Calling the chosen deployment: a plain answer, a stream of deltas, or vectors."""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import replace

from llmdeal_litellm.catalog.model import Alias, Deadlines, Deployment, Egress, Member
from llmdeal_litellm.limits import (
    CHAT_ANSWER_BYTES_MAX,
    EMBEDDINGS_ANSWER_BYTES_MAX,
    MODELS_BYTES_MAX,
)
from llmdeal_litellm.policy.answer import Answer
from llmdeal_litellm.policy.chat_request import ChatRequest
from llmdeal_litellm.policy.embeddings import EmbeddingRequest
from llmdeal_litellm.policy.usage import Claim
from llmdeal_litellm.upstream.batches import Batches, Decoded, InOnePiece
from llmdeal_litellm.upstream.codecs.openai import models_call
from llmdeal_litellm.upstream.codecs.openai_answers import read_models
from llmdeal_litellm.upstream.codecs.wire import ChatPlan, Codec, UpstreamCall
from llmdeal_litellm.upstream.failures import BadStatus, BrokenAnswer, from_status
from llmdeal_litellm.upstream.route import Candidate
from llmdeal_litellm.upstream.transport import Reply, Sent, Transport

DECODED_ON_LOOP_BYTES_MAX = 256 * 1024


ChatCandidate = Candidate[ChatPlan]


class Upstreams:
    """Calls deployments, each over the transport of its egress and in the codec of its provider."""

    def __init__(
        self, transports: Mapping[Egress, Transport], codecs: Mapping[str, Codec], deadlines: Deadlines
    ) -> None:
        self._transports = transports
        self._codecs = codecs
        self._deadlines = deadlines

    def plan(self, request: ChatRequest, member: Member) -> ChatPlan:
        """Translate a request for one member. Raises CannotHonour."""
        return self._codecs[member.deployment.provider].plan_chat(request, member)

    def plan_embeddings(self, request: EmbeddingRequest, member: Member) -> UpstreamCall:
        """Translate an embeddings request for one member. Raises CannotHonour."""
        return self._codecs[member.deployment.provider].embeddings_call(request, member)

    async def answer(
        self, candidate: ChatCandidate, alias: Alias, model: str, output_limit: int, sent: Sent
    ) -> Answer:
        """A plain answer. Raises UpstreamFailure."""
        deployment = candidate.member.deployment
        reply = await self._fetch(candidate.plan.call(output_limit), deployment, sent, CHAT_ANSWER_BYTES_MAX)
        _require_ok(reply, alias, model)
        if len(reply.body) <= DECODED_ON_LOOP_BYTES_MAX:
            return candidate.plan.answer(reply.body)
        return await asyncio.to_thread(candidate.plan.answer, reply.body)

    async def vectors(
        self, candidate: Candidate[UpstreamCall], alias: Alias, model: str, items: int, sent: Sent
    ) -> tuple[list[list[float]], Claim]:
        """Embedding vectors in input order. Raises UpstreamFailure."""
        deployment = candidate.member.deployment
        reply = await self._fetch(candidate.plan, deployment, sent, EMBEDDINGS_ANSWER_BYTES_MAX)
        _require_ok(reply, alias, model)
        codec = self._codecs[deployment.provider]
        if len(reply.body) <= DECODED_ON_LOOP_BYTES_MAX:
            return codec.vectors(reply.body, items)
        return await asyncio.to_thread(codec.vectors, reply.body, items)

    async def models(self, deployment: Deployment) -> frozenset[str]:
        """The models that a server on OpenAI's wire says it has. Raises UpstreamFailure."""
        reply = await self._fetch(models_call(deployment), deployment, _unnoticed, MODELS_BYTES_MAX)
        if reply.status != 200:
            raise BadStatus(reply.status)
        return read_models(reply.body)

    def _fetch(
        self, call: UpstreamCall, deployment: Deployment, sent: Sent, most_bytes: int
    ) -> Awaitable[Reply]:
        deadlines = bounded_by(self._deadlines, deployment.timeout_s)
        transport = self._transports[deployment.egress]
        return transport.fetch(call, deadlines, sent, most_bytes=most_bytes)

    async def deltas(
        self, candidate: ChatCandidate, alias: Alias, model: str, output_limit: int, sent: Sent
    ) -> Batches:
        """A stream of deltas; see `Batches`. Raises UpstreamFailure."""
        if candidate.plan.whole:
            return InOnePiece(await self.answer(candidate, alias, model, output_limit, sent))
        deadlines = for_stream(self._deadlines, candidate.member)
        transport = self._transports[candidate.member.deployment.egress]
        incoming = await transport.stream(candidate.plan.call(output_limit), deadlines, sent)
        try:
            if incoming.status != 200:
                _require_ok(await incoming.refusal(), alias, model)
            if incoming.content_type == "text/html":
                raise BrokenAnswer("HTML instead of a stream")
            return Decoded(incoming, candidate.plan.decoder(), model, alias.context_window)
        except BaseException:
            incoming.close()
            raise


def _unnoticed() -> None:
    """Nobody pays for the question."""


def for_stream(deadlines: Deadlines, member: Member) -> Deadlines:
    """Deadlines of a stream: a model that may think first has longer to begin."""
    deployment = member.deployment
    if member.reasoning:
        deadlines = replace(deadlines, first_byte_s=deadlines.reasoning_first_byte_s)
    return bounded_by(deadlines, deployment.stream_timeout_s or deployment.timeout_s)


def bounded_by(deadlines: Deadlines, total_s: float | None) -> Deadlines:
    """Deadlines with a deployment's own bound on the whole answer in the place of the general one."""
    if total_s is None:
        return deadlines
    return replace(
        deadlines,
        answer_s=total_s,
        first_byte_s=min(deadlines.first_byte_s, total_s),
        silence_s=min(deadlines.silence_s, total_s),
    )


def _require_ok(reply: Reply, alias: Alias, model: str) -> None:
    if reply.status != 200:
        raise from_status(
            reply.status,
            reply.retry_after,
            reply.body,
            model=model,
            window=alias.context_window,
            own_key=alias.own_key,
        )

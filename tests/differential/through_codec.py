"""Our side of an exchange: plan, call, and the answer or the deltas, over the real transport and codec."""

from collections.abc import Mapping

from exchange_files import WIRES, Exchange
from outcomes import Outcome, parsed

from llmdeal_litellm.catalog.model import Alias, Deadlines, Deployment, Egress, Kind, Member, Secret
from llmdeal_litellm.errors import (
    ContextLengthExceeded,
    GatewayError,
    InvalidRequest,
    RateLimited,
    UpstreamError,
)
from llmdeal_litellm.money import Rates
from llmdeal_litellm.policy.answer import Answer, Delta, ToolCallPart
from llmdeal_litellm.policy.chat_request import ChatRequest, parse_chat
from llmdeal_litellm.policy.usage import Claim
from llmdeal_litellm.upstream.calls import Upstreams
from llmdeal_litellm.upstream.codecs.litellm import parameter_maps
from llmdeal_litellm.upstream.codecs.table import codecs
from llmdeal_litellm.upstream.codecs.wire import CannotHonour
from llmdeal_litellm.upstream.failures import UpstreamFailure
from llmdeal_litellm.upstream.route import Candidate
from llmdeal_litellm.upstream.transport import Transport

LIMIT_MAX = 8192
FAILURES: Mapping[type[GatewayError], str] = {
    ContextLengthExceeded: "context length",
    InvalidRequest: "input refused",
    RateLimited: "throttled",
    UpstreamError: "upstream failed",
}


class Ours:
    """Our side, with a codec for each wire. Created on the event loop that uses it."""

    def __init__(self) -> None:
        self._transport = Transport()
        self._upstreams = Upstreams(
            {Egress.CONFIGURED: self._transport},
            codecs(parameter_maps(frozenset(WIRES))),
            Deadlines(answer_s=30.0),
        )

    async def close(self) -> None:
        """Close its connections."""
        await self._transport.close()

    async def outcome(self, exchange: Exchange, base: str) -> Outcome:
        """What the exchange gives a caller."""
        request = parse_chat({"model": exchange.model, **exchange.request})
        found = Outcome()
        try:
            await self._exchanged(request, _member(exchange, base), found)
        except CannotHonour as refused:
            found.failure = f"cannot honour {refused.field}"
        except UpstreamFailure as failure:
            found.failure = FAILURES[type(failure.shown())]
        return found

    async def _exchanged(self, request: ChatRequest, member: Member, found: Outcome) -> None:
        alias = _alias(request.model, member)
        limit = request.output_limit or LIMIT_MAX
        candidate = Candidate(member, self._upstreams.plan(request, member))
        if not request.stream:
            answer = await self._upstreams.answer(candidate, alias, request.model, limit, lambda: None)
            _read(answer, found)
            return
        with await self._upstreams.deltas(candidate, alias, request.model, limit, lambda: None) as batches:
            calls: list[list[str]] = []
            async for batch in batches:
                for delta in batch:
                    _add(delta, calls, found)
        found.calls = [parsed(name, arguments) for name, arguments in calls] or None


def _member(exchange: Exchange, base: str) -> Member:
    deployment = Deployment(
        exchange.name, exchange.model, exchange.wire, exchange.model, base, Secret("sk-loopback")
    )
    return Member(deployment, exchange.model, LIMIT_MAX, vision=True)


def _alias(name: str, member: Member) -> Alias:
    return Alias(
        name, Kind.CHAT, Rates.flat(1, 1), frozenset(), "all", 200_000, LIMIT_MAX, (), True, 1, (member,)
    )


def _read(answer: Answer, found: Outcome) -> None:
    found.text, found.reasoning = answer.content or "", answer.reasoning or ""
    found.refusal, found.finish = answer.refusal or "", answer.finish_reason
    found.calls = [parsed(call.name or "", call.arguments) for call in answer.tool_calls] or None
    _claim(answer.claim, found)


def _add(delta: Delta, calls: list[list[str]], found: Outcome) -> None:
    found.text += delta.content or ""
    found.reasoning += delta.reasoning or ""
    found.refusal += delta.refusal or ""
    found.finish = delta.finish_reason or found.finish
    for part in delta.tool_calls:
        _piece(part, calls)
    if delta.claim is not None:
        _claim(delta.claim, found)


def _piece(part: ToolCallPart, calls: list[list[str]]) -> None:
    if part.opens:
        assert part.index == len(calls), "calls open in their order"
        calls.append([part.name or "", ""])
    calls[part.index][1] += part.arguments


def _claim(claim: Claim, found: Outcome) -> None:
    found.prompt_tokens, found.completion_tokens = claim.input, claim.output
    found.reasoning_tokens, found.cached_tokens = claim.reasoning, claim.cached

"""One request's life: authenticate → limit → admit (access, candidates, tokens, hold) → serve → close.

The order of refusals is the order of the calls below. A hold that was opened here is closed here exactly
once, whatever happens to the request: by `close`, or by `abandon` from the caller's `finally`. What the
limiter reserved is corrected where the hold ends.
"""

import contextlib
import logging
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from llmdeal_litellm.accounts.answers import Answered
from llmdeal_litellm.accounts.callers import AccountsDown, Caller
from llmdeal_litellm.catalog.model import BYO_PREFIX, Alias, Kind, Payee, Tier
from llmdeal_litellm.errors import InvalidApiKey, InvalidRequest, KeyFrozen, RateLimited, ServiceUnavailable
from llmdeal_litellm.holding import RequestHold, paid_for
from llmdeal_litellm.ledger.ops import CloseHold, MarkDelivered, OpenHold, Reason, Refused
from llmdeal_litellm.ledger.store import LedgerDown
from llmdeal_litellm.naming import own_alias
from llmdeal_litellm.policy import access, keys, rate_limit, tokens, usage
from llmdeal_litellm.policy.answer import Identity
from llmdeal_litellm.policy.chat_request import ChatRequest
from llmdeal_litellm.policy.delivered import Delivered, overrun_bound
from llmdeal_litellm.policy.embeddings import EmbeddingRequest
from llmdeal_litellm.policy.preview import expected_cost, expected_output
from llmdeal_litellm.policy.pricing import Quote, quote_chat, quote_embeddings
from llmdeal_litellm.policy.rate_limit import Standing
from llmdeal_litellm.policy.usage import NO_CLAIM, Billed, Claim, Rule
from llmdeal_litellm.refusals import refusal
from llmdeal_litellm.repeats import Repeatable
from llmdeal_litellm.services import Services, StoreWait
from llmdeal_litellm.serving import Serving
from llmdeal_litellm.upstream.codecs.wire import ChatPlan, UpstreamCall
from llmdeal_litellm.upstream.failures import UpstreamFailure

log = logging.getLogger("llmdeal.upstream")


class Exchange:
    """The state of one request. Attributes are set in the order in which the steps above happen."""

    def __init__(self, services: Services, request_id: str) -> None:
        self.services = services
        self.catalog = services.catalog
        self.request_id = request_id
        self.dispatched = False
        self.delivered = Delivered(services.count)
        self.begun_s = services.monotonic_s()
        self.first_output_s: float | None = None
        self.caller: Caller | None = None
        self.known_caller: Caller
        """The same, for what is done after authentication."""
        self.alias: Alias
        self.model = ""
        self.hold: RequestHold | None = None
        self.repeatable: Repeatable | None = None
        self.billed: Billed | None = None
        self.claim = NO_CLAIM
        self.rule: Rule | None = None
        self.standing: Standing | None = None
        self.serving: Serving[Any] | None = None
        self._tier: Tier
        self._reserved = 0
        self._streams = False
        self._unasked_tokens = 0.0
        self._closed = False
        self.store = StoreWait()

    async def authenticate(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
        """The caller behind the request's key. Raises InvalidApiKey, KeyFrozen or ServiceUnavailable."""
        raw_key = keys.bearer_key(headers)
        if raw_key is None:
            raise InvalidApiKey
        digest = keys.key_digest(self.services.key_pepper, raw_key)
        caller = self.services.callers.known(digest) or await self._found(digest)
        if caller is None:
            raise InvalidApiKey
        self.caller = self.known_caller = caller
        self._tier = self.catalog.tiers.get(caller.tier) or access.NO_TIER
        if caller.frozen:
            self.standing = self.services.limiter.standing(caller.key_id, self._tier)
            raise KeyFrozen
        return caller

    async def _found(self, digest: bytes) -> Caller | None:
        try:
            async with self.store.wait():
                return await self.services.callers.find(digest)
        except AccountsDown:
            raise ServiceUnavailable from None

    async def limit(self) -> None:
        """One request out of the key's buckets. Raises RateLimited."""
        standing = await self.services.limiter.take_request(self.known_caller.key_id, self._tier)
        self.standing = standing
        if standing.wait_ns:
            self.services.metrics.limited.inc("requests")
            raise RateLimited(
                "Too many requests with this key. Retry after the time in Retry-After.",
                retry_after_s=rate_limit.retry_after_s(standing.wait_ns),
            )

    async def admit_chat(self, request: ChatRequest, body_bytes: int) -> Serving[ChatPlan]:
        """Access, candidates, tokens and hold for a chat completion; returns who serves it.

        Raises the refusals of these steps, in this order: 404, 403, 400, 503, 429, 402. `body_bytes`
        decides where tokens are counted and the request is translated.
        """
        self._streams = request.stream
        alias = await self._named(request.model)
        access.require_chat(alias, request.model)
        if request.images and not alias.vision:
            raise InvalidRequest(
                f"'{request.model}' does not take images. Use a model with the tag 'vision'."
            )
        counter = self.services.counts.of(self.known_caller.account_id)
        count = await self.services.off_loop(
            body_bytes, tokens.count_chat, request, alias.image_tokens, counter
        )
        expected = expected_output(count.preview, request.output_limit)
        members = self.services.offered(alias, own_input=count.own, expected_output=expected)
        plan = partial(self.services.upstreams.plan, request)
        serving: Serving[ChatPlan] = await self.services.off_loop(
            body_bytes, Serving, self.services, alias, self.model, members, plan
        )
        # Whoever serves in the end, the hold pays for it.
        limit = min(request.output_limit or self.catalog.default_output_tokens, alias.output_ceiling)
        caller_limit = None if request.output_limit is None else limit
        quote = quote_chat(
            alias.rates,
            own_input=count.own,
            input_bound=tokens.input_bound(count.own, alias.prompt_overhead),
            output_limit=limit,
            caller_limit=caller_limit,
            expected=expected_cost(alias.rates, count.preview, caller_limit),
            stream=request.stream,
        )
        await self._hold(quote, serving)
        return serving

    async def admit_embeddings(self, request: EmbeddingRequest, body_bytes: int) -> Serving[UpstreamCall]:
        """As `admit_chat`, for an embeddings request."""
        alias = await self._named(request.model)
        access.require_embedding(alias, request.model)
        if request.dimensions == alias.dimensions:
            # What the model gives anyway need not be asked for, and not every model can be asked.
            request = replace(request, dimensions=None)
        elif request.dimensions and alias.dimensions and request.dimensions > alias.dimensions:
            raise InvalidRequest(f"'dimensions' is at most {alias.dimensions} for '{request.model}'.")
        own = await self.services.off_loop(
            body_bytes, tokens.count_embedding, request.texts, self.services.count
        )
        members = self.services.offered(alias, own_input=own, expected_output=0)
        plan = partial(self.services.upstreams.plan_embeddings, request)
        serving = Serving(self.services, alias, self.model, members, plan)
        bound = tokens.input_bound(own, alias.prompt_overhead)
        await self._hold(quote_embeddings(alias.rates, own_input=own, input_bound=bound), serving)
        return serving

    async def _named(self, model: str) -> Alias:
        """The alias that the caller means."""
        caller, self.model = self.known_caller, model
        if model.startswith(BYO_PREFIX):
            self.alias = await own_alias(self.services, self.store, caller, model)
        else:
            tier, has_addon = caller.tier, caller.frontier_addon
            self.alias = access.resolve(self.catalog, model, tier=tier, frontier_addon=has_addon)
        return self.alias

    async def _hold(self, quote: Quote, serving: Serving[Any]) -> None:
        """Reserve the tokens and open the hold, durably, before anything is sent.

        Raises AnsweredBefore, 409, 422, 429, 401, 403, 402 or 503, and then neither is left.
        """
        if self.repeatable is not None:
            async with self.store.wait():
                await self.repeatable.look()
        caller, limiter = self.known_caller, self.services.limiter
        reserved = quote.input_bound + quote.output_limit
        standing = self.standing = await limiter.take_tokens(caller.key_id, self._tier, reserved)
        if standing.wait_ns:
            self.services.metrics.limited.inc("tokens")
            raise RateLimited(
                "Too many tokens with this key in a minute. Retry after the time in Retry-After, or ask for "
                "fewer tokens.",
                retry_after_s=rate_limit.retry_after_s(standing.wait_ns),
            )
        op = OpenHold(
            request_id=self.request_id,
            account_id=caller.account_id,
            wallet=self.alias.wallet_name,
            key_id=caller.key_id,
            alias=self.alias.name,
            quote=quote,
            rate_version=self.catalog.version,
            paid=paid_for(serving.member.deployment),
            idempotency=None if self.repeatable is None else self.repeatable.named,
        )
        self._reserved = reserved
        try:
            outcome = await self.services.ledger.open_hold(op, within_s=self.store.left_s)
        except LedgerDown:
            self._correct_tokens(0)
            raise ServiceUnavailable from None
        if isinstance(outcome, Refused):
            self._correct_tokens(0)
            if outcome.reason is Reason.OPEN_HOLDS:
                self.services.metrics.limited.inc("open_holds")
            raise refusal(outcome, self.alias)
        ledger, clock_s = self.services.ledger, self.services.monotonic_s
        self.hold = RequestHold(ledger, self.request_id, outcome.terms, quote.own_input, clock_s)
        self.serving = serving
        self.services.retries.note_request()

    def _correct_tokens(self, used: int) -> None:
        """Give back what was reserved beyond what was used; more than that is taken."""
        back, self._reserved = self._reserved - used, 0
        self.standing = self.services.limiter.give_tokens(self.known_caller.key_id, self._tier, back)

    @property
    def output_limit(self) -> int:
        """How long the answer may become: what can be paid for, cut to what the serving member can."""
        if self.hold is None or self.serving is None:
            return 0
        return min(self.hold.terms.answer_limit, self.serving.member.max_output_tokens)

    def identity(self) -> Identity:
        """What the answer carries: our id, the name the caller may know, our clock."""
        served = self.serving.member.shown_as if self.serving is not None else self.model
        model = served if self.alias.kind is Kind.LANE else self.model
        return Identity(self.request_id, model, int(self.services.now_s()))

    def another(self, failure: UpstreamFailure) -> bool:
        """After a failure before any output: whether another candidate is to be tried."""
        serving = self.serving
        assert serving is not None, "only a request that is served fails upstream"
        deployment = serving.member.deployment.id
        log.warning("request %s failed at %s: %s", self.request_id, deployment, failure.detail)
        if self.delivered.started or not serving.another(failure):
            return False
        self.dispatched = False
        return True

    def note_output(self) -> None:
        """The first output is on its way to the caller."""
        self.first_output_s = self.services.monotonic_s()

    def dispatch(self) -> None:
        """Note that the request has been written to an upstream: from now on leaving costs the input."""
        self.dispatched = True

    async def count_delivered(self) -> None:
        """Count what was delivered since the last time, off the event loop when it is long.

        A request that is cancelled in between counts again from where it was.
        """
        if self.delivered.is_counted:
            return
        pending = self.delivered.pending()
        size = len(pending.visible) + len(pending.reasoning)
        self.delivered.counted(await self.services.off_loop(size, self.delivered.count, pending))

    async def must_end(self) -> bool:
        """Whether the upstream is to be stopped: it ignores its output limit, or funds have ended."""
        self._require_touch()
        delivered = self.delivered
        if delivered.at_most() <= self._unasked_tokens:  # for most answers, all but the first time
            return False
        hold, output_limit = self.known_hold, self.output_limit
        if hold.is_short(delivered):
            await self.count_delivered()
            if not await hold.cover(delivered.tokens()):
                return True
        if delivered.at_most() > overrun_bound(output_limit):
            await self.count_delivered()
            if delivered.overruns(output_limit):
                return True
        self._unasked_tokens = min(hold.unasked_tokens, overrun_bound(output_limit))
        return False

    async def bill(self, claim: Claim) -> Billed:
        """Tokens to bill for an answer that ended by itself."""
        self._require_touch()
        await self.count_delivered()
        return await self.known_hold.bill(claim, self.delivered, of_partner=self._payee is not None)

    def bill_vectors(self, claim: Claim) -> Billed:
        """Tokens to bill for vectors."""
        self._require_touch()
        return self.known_hold.bill_vectors(claim)

    def _require_touch(self) -> None:
        """Give no answer whose hold others may have ended: a plain one not at all, a stream no further."""
        if not self.services.ledger.still_holds(self.request_id):
            self.delivered = self.delivered if self._streams else Delivered(self.services.count)
            raise ServiceUnavailable

    def rule_for(self, finish: str, claim: Claim, *, stop_given: bool) -> Rule:
        """COMPLETED, or EMPTY_ANSWER for an answer with nothing in it."""
        believed, own = claim if self._payee is None else NO_CLAIM, self.delivered.tokens()
        return usage.rule_of(finish, believed, stop_given=stop_given, own_output=own)

    async def mark_delivered(self) -> None:
        """Tell the ledger how much has reached the caller."""
        await self.count_delivered()
        mark = MarkDelivered(self.request_id, self.delivered.tokens(), payee=self._payee)
        self.services.ledger.mark_delivered(mark)

    def close(self, rule: Rule, billed: Billed | None, claim: Claim = NO_CLAIM) -> None:
        """End the hold once; later calls do nothing. Does not wait: the services run it to its end."""
        if self.hold is None or self._closed:
            return
        self._closed = True
        end = self._end(rule, billed, claim)
        self.services.settle(self.services.ledger.close_hold(end, hurry=False))

    async def close_answered(self, billed: Billed, claim: Claim, answer: Answered) -> None:
        """End the hold of a whole answer, whose last bytes these are.

        One that a repetition may ask for is kept with the charge. That is waited for a while, so that whoever
        has the answer finds it again.
        """
        if self.repeatable is None:
            self.close(Rule.COMPLETED, billed, claim)
            return
        self._closed = True
        end = self._end(Rule.COMPLETED, billed, claim, self.repeatable.sealed(answer))
        with contextlib.suppress(ServiceUnavailable):
            await self.services.settled(self.services.ledger.close_hold(end))

    async def close_empty(self, billed: Billed, claim: Claim, answer: Answered) -> Billed:
        """End the hold of an empty answer. The ledger decides whether it is given back, so this waits.

        `answer` is what is kept of it when it is charged.
        """
        self._closed = True
        kept = None if self.repeatable is None else self.repeatable.sealed(answer)
        end = self._end(Rule.EMPTY_ANSWER, billed, claim, kept)
        closed = await self.services.settled(self.services.ledger.close_hold(end))
        self.rule = closed.rule
        if closed.rule is not Rule.EMPTY_ANSWER:
            return billed
        self.standing = self.services.limiter.give_tokens(
            self.known_caller.key_id, self._tier, billed.input + billed.output
        )
        self.billed = Billed(0, 0)
        return self.billed

    def _end(self, rule: Rule, billed: Billed | None, claim: Claim, answer: str | None = None) -> CloseHold:
        self._correct_tokens(billed.input + billed.output if billed is not None else 0)
        self.rule, self.billed, self.claim = rule, billed, claim
        served_by = self.serving.member.deployment.id if self.serving is not None else None
        return CloseHold(self.request_id, rule, billed, claim, served_by, answer=answer, payee=self._payee)

    def close_partial(self, rule: Rule) -> None:
        """End the hold of an answer that was cut: input and what was delivered, by our own counts."""
        if self.hold is not None and not self._closed:
            self.close(rule, self.hold.bill_partial(self.delivered))

    def abandon(self) -> None:
        """The backstop: end the hold of a request that left every other way. Before dispatch nothing is owed;
        after it the input and what was produced are."""
        if self.hold is None and self._reserved:
            self._correct_tokens(0)
        if self.dispatched:
            self.close_partial(Rule.CALLER_LEFT)
        else:
            self.close(Rule.CALLER_LEFT_BEFORE_DISPATCH, None)

    def fail(self, cut: Rule = Rule.UPSTREAM_CUT) -> None:
        """End the hold of a request that failed: given back before any output, billed as delivered after,
        by the rule `cut`."""
        if self.delivered.tokens():
            self.close_partial(cut)
        else:
            self.close(Rule.FAILED_BEFORE_OUTPUT, None)

    @property
    def _payee(self) -> Payee | None:
        """Whose machine serves, when it is a partner's."""
        return None if self.serving is None else self.serving.member.deployment.payee

    @property
    def known_hold(self) -> RequestHold:
        """What is held for the request, once something is."""
        if self.hold is None:
            raise RuntimeError("nothing is billed before a hold")
        return self.hold

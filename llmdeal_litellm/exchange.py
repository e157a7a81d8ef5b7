"""One request's life: authenticate → admit (access, candidates, hold) → dispatch → record usage → close.

The order of refusals is the order of the calls below. A hold that was opened here is closed here exactly
once, whatever happens to the request: by `close`, or by `abandon` from the caller's `finally`. Rate limits
and idempotency have their places in `authenticate` and `admit_*` and are not there yet.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from llmdeal_litellm.accounts.callers import AccountsDown, Caller
from llmdeal_litellm.catalog.model import Alias, Kind, Member
from llmdeal_litellm.errors import (
    InvalidApiKey,
    InvalidRequest,
    KeyFrozen,
    NoConsortiumMachineAvailable,
    QuotaExhausted,
    RateLimited,
    ServiceUnavailable,
)
from llmdeal_litellm.ledger.ops import CloseHold, MarkDelivered, OpenHold, PaidRates, Reason, Refused
from llmdeal_litellm.ledger.store import LedgerDown
from llmdeal_litellm.money import usd_text
from llmdeal_litellm.policy import access, keys, tokens, usage
from llmdeal_litellm.policy.answer import Identity
from llmdeal_litellm.policy.chat_request import ChatRequest
from llmdeal_litellm.policy.delivered import Delivered
from llmdeal_litellm.policy.embeddings import EmbeddingRequest
from llmdeal_litellm.policy.lanes import cheapest_first
from llmdeal_litellm.policy.preview import bands, expected_cost
from llmdeal_litellm.policy.pricing import HoldTerms, Quote, quote_chat, quote_embeddings
from llmdeal_litellm.policy.usage import NO_CLAIM, Billed, Claim, Rule
from llmdeal_litellm.services import Services
from llmdeal_litellm.upstream.calls import Candidate
from llmdeal_litellm.upstream.codecs.wire import CannotHonour, UpstreamCall

Planned = TypeVar("Planned")


class Exchange:
    """The state of one request. Attributes are set in the order in which the steps above happen."""

    def __init__(self, services: Services, request_id: str) -> None:
        self.services = services
        self.catalog = services.catalog
        self.request_id = request_id
        self.dispatched = False
        self.delivered = Delivered(services.count)
        self.caller: Caller
        self.alias: Alias
        self.model = ""
        self.terms: HoldTerms | None = None
        self._own_input = 0
        self._member: Member
        self._closed = False

    def authenticate(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
        """The caller behind the request's key. Raises InvalidApiKey, KeyFrozen or ServiceUnavailable."""
        raw_key = keys.bearer_key(headers)
        if raw_key is None:
            raise InvalidApiKey
        try:
            caller = self.services.callers.find(keys.key_digest(self.services.key_pepper, raw_key))
        except AccountsDown:
            raise ServiceUnavailable from None
        if caller is None:
            raise InvalidApiKey
        if caller.frozen:
            raise KeyFrozen
        self.caller = caller
        return caller

    async def admit_chat(self, request: ChatRequest, body_bytes: int) -> Candidate:
        """Access, candidates and hold for a chat completion; returns the candidate to call.

        Raises the refusals of these steps, in this order: 404, 403, 400, 503, 429, 402. `body_bytes`
        decides where tokens are counted and the request is translated.
        """
        alias = self._access(request.model)
        access.require_chat(alias, request.model)
        if request.images and not alias.vision:
            raise InvalidRequest(
                f"'{request.model}' does not take images. Use a model with the tag 'vision'."
            )
        count = await self.services.off_loop(
            body_bytes, lambda: tokens.count_chat(request, alias.image_tokens, self.services.count)
        )
        expected_output = bands(count.preview, request.output_limit).expected
        members = cheapest_first(alias, own_input=count.own, expected_output=expected_output)
        candidate = await self.services.off_loop(
            body_bytes,
            lambda: self._first(members, lambda member: self.services.upstreams.plan(request, member)),
        )
        ceiling = candidate.member.max_output_tokens
        limit = min(request.output_limit or self.catalog.default_output_tokens, ceiling)
        caller_limit = None if request.output_limit is None else limit
        quote = quote_chat(
            alias.rates,
            own_input=count.own,
            input_bound=tokens.input_bound(count.own, candidate.member.deployment.prompt_overhead),
            output_limit=limit,
            caller_limit=caller_limit,
            expected=expected_cost(alias.rates, count.preview, caller_limit),
        )
        await self._hold(quote, candidate.member)
        return candidate

    async def admit_embeddings(
        self, request: EmbeddingRequest, body_bytes: int
    ) -> tuple[Member, UpstreamCall]:
        """As `admit_chat`, for an embeddings request."""
        alias = self._access(request.model)
        access.require_embedding(alias, request.model)
        if request.dimensions == alias.dimensions:
            # What the model gives anyway need not be asked for, and not every model can be asked.
            request = replace(request, dimensions=None)
        elif request.dimensions and alias.dimensions and request.dimensions > alias.dimensions:
            raise InvalidRequest(f"'dimensions' is at most {alias.dimensions} for '{request.model}'.")
        own = await self.services.off_loop(
            body_bytes, lambda: tokens.count_embedding(request.texts, self.services.count)
        )
        members = cheapest_first(alias, own_input=own, expected_output=0)
        upstreams = self.services.upstreams
        member, call = self._first(members, lambda m: (m, upstreams.plan_embeddings(request, m)))
        bound = tokens.input_bound(own, member.deployment.prompt_overhead)
        await self._hold(quote_embeddings(alias.rates, own_input=own, input_bound=bound), member)
        return member, call

    def _access(self, model: str) -> Alias:
        caller = self.caller
        self.model = model
        self.alias = access.resolve(
            self.catalog, model, tier=caller.tier, frontier_addon=caller.frontier_addon
        )
        return self.alias

    def _first(self, members: Sequence[Member], plan: Callable[[Member], Planned]) -> Planned:
        """The plan of the first member with a key that honours every field that matters.

        Raises InvalidRequest when no member honours them, 503 when those that do cannot be called.
        """
        refused: list[str] = []
        for member in members:
            try:
                planned = plan(member)
            except CannotHonour as cannot:
                refused.append(cannot.field)
                continue
            if member.deployment.reachable:
                return planned
        if members and len(refused) == len(members):
            raise InvalidRequest(
                f"'{self.model}' cannot honour '{refused[0]}'. Leave it out or choose another model."
            )
        if self.alias.kind is Kind.CONSORTIUM:
            raise NoConsortiumMachineAvailable(self.model)
        raise ServiceUnavailable(
            f"No upstream is set up for '{self.model}' here. Use another model, or smart-route.",
            retry_after_s=60,
            retry_pointless=True,
        )

    async def _hold(self, quote: Quote, member: Member) -> None:
        """Open the hold, durably, before anything is sent. Raises 401, 403, 402, 429 or 503."""
        deployment = member.deployment
        paid = None
        if deployment.input_cost is not None:
            paid = PaidRates(deployment.input_cost, deployment.output_cost or 0)
        op = OpenHold(
            request_id=self.request_id,
            account_id=self.caller.account_id,
            wallet=self.alias.wallet.value,
            key_id=self.caller.key_id,
            alias=self.alias.name,
            quote=quote,
            rate_version=self.catalog.version,
            paid=paid,
        )
        try:
            outcome = await self.services.ledger.open_hold(op)
        except LedgerDown:
            raise ServiceUnavailable from None
        if isinstance(outcome, Refused):
            raise _refusal(outcome, self.alias)
        self.terms, self._own_input, self._member = outcome.terms, quote.own_input, member

    @property
    def deployment_id(self) -> str:
        """Who was asked to serve it."""
        return self._member.deployment.id

    @property
    def output_limit(self) -> int:
        """The output limit that the hold pays for."""
        return self.terms.output_limit if self.terms is not None else 0

    def identity(self) -> Identity:
        """What the answer carries: our id, the name the caller may know, our clock."""
        model = self._member.shown_as if self.alias.kind is Kind.LANE else self.model
        return Identity(self.request_id, model, int(self.services.now_s()))

    def dispatch(self) -> None:
        """Note that the request has been written to an upstream: from now on leaving costs the input."""
        self.dispatched = True

    async def count_delivered(self) -> None:
        """Count what was delivered since the last time, off the event loop when it is long.

        A request that is cancelled in between counts again from where it was.
        """
        pending = self.delivered.pending()
        size = len(pending.visible) + len(pending.reasoning)
        self.delivered.counted(await self.services.off_loop(size, lambda: self.delivered.count(pending)))

    async def overruns(self) -> bool:
        """Whether an upstream that ignores its output limit must be stopped."""
        if not self.delivered.may_overrun(self.output_limit):
            return False
        await self.count_delivered()
        return self.delivered.overruns(self.output_limit)

    async def bill(self, claim: Claim) -> Billed:
        """Tokens to bill for an answer that ended by itself."""
        await self.count_delivered()
        terms = self._held()
        return usage.bill_answer(
            claim,
            input_part=terms.input_part,
            output_limit=terms.output_limit,
            own_input=self._own_input,
            own_visible=self.delivered.visible,
            own_reasoning=self.delivered.reasoning,
        )

    def bill_vectors(self, claim: Claim) -> Billed:
        """Tokens to bill for vectors."""
        return usage.bill_embeddings(claim, input_part=self._held().input_part, own_input=self._own_input)

    def rule_for(self, answer_finish: str, claim: Claim, *, stop_given: bool) -> Rule:
        """COMPLETED, or EMPTY_ANSWER for an answer with nothing in it."""
        empty = usage.is_empty_answer(
            finish_reason=answer_finish,
            stop_given=stop_given,
            own_output=self.delivered.tokens(),
            claim=claim,
        )
        return Rule.EMPTY_ANSWER if empty else Rule.COMPLETED

    async def mark_delivered(self) -> None:
        """Tell the ledger how much has reached the caller."""
        await self.count_delivered()
        self.services.ledger.mark_delivered(MarkDelivered(self.request_id, self.delivered.tokens()))

    def close(self, rule: Rule, billed: Billed | None, claim: Claim = NO_CLAIM) -> None:
        """End the hold once; later calls do nothing. Does not wait: the services run it to its end."""
        if self.terms is None or self._closed:
            return
        self._closed = True
        self.services.settle(self.services.ledger.close_hold(self._end(rule, billed, claim)))

    async def close_empty(self, billed: Billed, claim: Claim) -> Billed:
        """End the hold of an empty answer. The ledger decides whether it is given back, so this waits."""
        self._closed = True
        end = self.services.ledger.close_hold(self._end(Rule.EMPTY_ANSWER, billed, claim))
        closed = await self.services.settled(end)
        return Billed(0, 0) if closed.rule is Rule.EMPTY_ANSWER else billed

    def _end(self, rule: Rule, billed: Billed | None, claim: Claim) -> CloseHold:
        return CloseHold(self.request_id, rule, billed, claim, self._member.deployment.id)

    def close_partial(self, rule: Rule) -> None:
        """End the hold of an answer that was cut: input and what was delivered, by our own counts."""
        if self.terms is None or self._closed:
            return
        self.close(
            rule,
            usage.bill_partial(
                input_part=self.terms.input_part,
                output_limit=self.terms.output_limit,
                own_input=self._own_input,
                own_output=self.delivered.tokens(),
            ),
        )

    def abandon(self) -> None:
        """The backstop: end the hold of a request that left every other way. Before dispatch nothing is owed;
        after it the input and what was produced are."""
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

    def _held(self) -> HoldTerms:
        if self.terms is None:
            raise RuntimeError("nothing is billed before a hold")
        return self.terms


def _refusal(refused: Refused, alias: Alias) -> Exception:
    """The error that a refused hold is shown as."""
    match refused.reason:
        case Reason.REVOKED:
            return InvalidApiKey()
        case Reason.FROZEN:
            return KeyFrozen()
        case Reason.OPEN_HOLDS:
            return RateLimited("This key has 32 requests in flight. Retry when one of them has ended.")
        case Reason.KEY_CAP:
            return QuotaExhausted(
                f"This request needs {usd_text(refused.required)} USD and the key's cap has "
                f"{usd_text(refused.available)} USD left "
                f"({usd_text(refused.held)} USD held by requests in flight). "
                "Raise the key's cap or use another key."
            )
        case Reason.FUNDS:
            wallet = "Frontier Credits have" if alias.kind is Kind.FRONTIER else "balance has"
            return QuotaExhausted(
                f"This request needs {usd_text(refused.required)} USD and your {wallet} "
                f"{usd_text(refused.available)} USD available "
                f"({usd_text(refused.held)} USD held by requests in flight). "
                "Top up, or retry when requests in flight have ended."
            )

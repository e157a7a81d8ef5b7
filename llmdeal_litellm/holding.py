"""The hold of one request while it runs: what it covers, how it grows, and what is billed against it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from llmdeal_litellm.catalog.model import Deployment
from llmdeal_litellm.ledger.ops import ExtendHold, PaidRates
from llmdeal_litellm.ledger.store import Ledger, LedgerDown
from llmdeal_litellm.limits import STREAM_WINDOW_TOKENS
from llmdeal_litellm.policy import usage
from llmdeal_litellm.policy.answer import Delta
from llmdeal_litellm.policy.delivered import Delivered
from llmdeal_litellm.policy.pricing import HoldTerms
from llmdeal_litellm.policy.usage import Billed, Claim

GROW_BEFORE_TOKENS = 512
"""A hold grows when less than this is left of it, so that a stream does not have to wait."""
PATIENCE_S = 10.0
"""How long a stream that has used up its hold waits for a ledger that is away, before it is ended."""
AGAIN_S = 0.25
NO_BOUND = float("inf")


def paid_for(deployment: Deployment) -> PaidRates | None:
    """What we pay for a deployment's tokens, where the config says so."""
    if deployment.input_cost is None:
        return None
    return PaidRates(deployment.input_cost, deployment.output_cost or 0)


class RequestHold:
    """What a request holds. `own_input` is our count of its input, tokens."""

    def __init__(
        self,
        ledger: Ledger,
        request_id: str,
        terms: HoldTerms,
        own_input: int,
        monotonic_s: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._request_id = request_id
        self._monotonic_s = monotonic_s
        self._failed_s = float("-inf")
        self._funds_ended = False
        self.terms = terms
        self.own_input = own_input

    def is_short(self, delivered: Delivered) -> bool:
        """Whether it is time to count, and to grow or to end.

        Not piece by piece: a text that is counted in parts may come to more tokens than it has.
        """
        if not self._may_end:
            return False
        most, covered = delivered.at_most(), self.terms.output_limit
        if self._funds_ended or most >= covered:
            return most >= covered
        uncounted = most - delivered.visible - delivered.reasoning
        return uncounted > GROW_BEFORE_TOKENS and most > covered - GROW_BEFORE_TOKENS

    @property
    def unasked_tokens(self) -> float:
        """So many tokens at most make it short at no time, as long as its terms stay."""
        return self.terms.output_limit - GROW_BEFORE_TOKENS if self._may_end else NO_BOUND

    def portions(self, batch: list[Delta], delivered: Delivered) -> list[list[Delta]]:
        """What arrived together, in portions after each of which it is to be asked whether the answer may go
        on: one by one, where all of it may be more than is covered."""
        if len(batch) == 1 or not self._may_end:
            return [batch]
        more = Delivered(len)
        more.add(batch)
        if delivered.at_most() + more.at_most() <= self.terms.output_limit:
            return [batch]
        return [[delta] for delta in batch]

    async def cover(self, delivered: int) -> bool:
        """Grow if need be; whether the answer may go on after so many tokens.

        A ledger that is away is waited for, a while, once the hold is used up: nothing is given away.
        """
        deadline_s = self._monotonic_s() + PATIENCE_S
        while self._is_growing and delivered > self.terms.output_limit - GROW_BEFORE_TOKENS:
            used_up = delivered >= self.terms.output_limit
            if not used_up and self._monotonic_s() - self._failed_s < AGAIN_S:
                break
            if await self.grow(self.terms.output_limit + STREAM_WINDOW_TOKENS):
                continue
            if not used_up or self._monotonic_s() > deadline_s:
                break
            await asyncio.sleep(AGAIN_S)
        return not self._may_end or delivered < self.terms.output_limit

    async def cover_all(self) -> None:
        """Cover the longest answer now. What cannot be covered is not asked for: the answer may become no
        longer than the hold."""
        if self._may_end:
            await self.grow(self.terms.answer_limit)
            self.terms, self._funds_ended = replace(self.terms, answer_limit=self.terms.output_limit), False

    @property
    def _may_end(self) -> bool:
        """Whether the answer may become longer than what can be held for."""
        return self.terms.output_limit < self.terms.answer_limit

    @property
    def _is_growing(self) -> bool:
        return self._may_end and not self._funds_ended

    async def grow(self, tokens: int) -> bool:
        """Cover an answer of so many tokens, as far as funds go; False when the ledger is away."""
        target = min(tokens, self.terms.answer_limit)
        try:
            extended = await self._ledger.extend_hold(ExtendHold(self._request_id, target))
        except LedgerDown:
            self._failed_s = self._monotonic_s()
            return False
        self._funds_ended = extended.output_limit < target
        self.terms = replace(self.terms, output_limit=extended.output_limit)
        return True

    async def bill(self, claim: Claim, delivered: Delivered, *, of_partner: bool = False) -> Billed:
        """Tokens to bill for an answer that ended by itself; the hold grows to what they are, if it can.

        `of_partner`: it came from a partner's machine.
        """
        bill = self._partners_answer if of_partner else self._answer
        wanted = bill(claim, delivered, self.terms.answer_limit)
        if wanted.output <= self.terms.output_limit:
            return wanted
        await self.grow(wanted.output)
        return bill(claim, delivered, self.terms.output_limit)

    def _partners_answer(self, claim: Claim, delivered: Delivered, limit: int) -> Billed:
        return usage.bill_partner(
            claim,
            input_part=self.terms.input_part,
            output_limit=limit,
            own_input=self.own_input,
            own_output=delivered.visible + delivered.reasoning,
        )

    def _answer(self, claim: Claim, delivered: Delivered, limit: int) -> Billed:
        return usage.bill_answer(
            claim,
            input_part=self.terms.input_part,
            output_limit=limit,
            own_input=self.own_input,
            own_visible=delivered.visible,
            own_reasoning=delivered.reasoning,
        )

    def bill_vectors(self, claim: Claim) -> Billed:
        """Tokens to bill for vectors."""
        return usage.bill_embeddings(claim, input_part=self.terms.input_part, own_input=self.own_input)

    def bill_partial(self, delivered: Delivered) -> Billed:
        """Tokens to bill for an answer that was cut."""
        return usage.bill_partial(
            input_part=self.terms.input_part,
            output_limit=self.terms.output_limit,
            own_input=self.own_input,
            own_output=delivered.tokens(),
        )

"""The ledger's decisions, pure: given the locked rows of a batch, what each operation does to them.

Hold → post | void, each hold ends exactly once. Operations are decided in arrival order; a refusal is a
value. Nothing here reads a clock or a database. Model: two-phase transfers as TigerBeetle documents them.
"""

from collections.abc import Callable
from functools import lru_cache

import orjson

from llmdeal_litellm.catalog.model import Payee
from llmdeal_litellm.ledger.ops import (
    CANARIES,
    HOUSE_LOSS,
    HOUSE_UPSTREAM_COST,
    Balance,
    Closed,
    CloseHold,
    Credit,
    Dispute,
    Extended,
    ExtendHold,
    Held,
    MarkDelivered,
    OpenHold,
    Reason,
    Refund,
    Refused,
    Result,
    Unknown,
)
from llmdeal_litellm.ledger.rows import (
    US_PER_DAY,
    US_PER_S,
    Batch,
    HoldRow,
    KeyRow,
    Place,
    RepeatRow,
    RuleBroken,
    WalletRow,
    is_another,
)
from llmdeal_litellm.ledger.topups import credit, dispute, provide, refund
from llmdeal_litellm.limits import EMPTY_ANSWER_REFUNDS_PER_DAY, KEPT_ANSWER_S, OPEN_HOLDS_PER_KEY_MAX
from llmdeal_litellm.money import PICO_PER_NANO, LongContext, Rates, charge
from llmdeal_litellm.policy.pricing import HoldTerms, longest_answer, size_hold
from llmdeal_litellm.policy.usage import Billed, Claim, Rule

CLAIM_TOKENS_BOOKED_MAX = 10_000_000
"""A claim above this is a lie, not a bill: it is kept in the record and not booked as a loss."""


def open_hold(batch: Batch, op: OpenHold) -> Result:
    """Hold funds if the caller can pay; one conditional step over wallet and key."""
    wallet, key = batch.wallets.get((op.account_id, op.wallet)), batch.keys.get(op.key_id)
    if wallet is None or key is None or key.account_id != op.account_id:
        return Unknown("account or key")
    place: Place = (op.request_id, op.leg)
    existing = batch.holds.get(place)
    if existing is not None:
        return _opened_before(batch, op, existing)
    if place in batch.ended:
        # A second try, after the hold of the first had ended: a request has one hold, once.
        return Unknown("a hold that is not yet open")
    caps = _left_of_caps(batch, key)
    refused = _refusal(batch, op, wallet, key, caps)
    if refused is not None:
        return refused
    if op.key_id == CANARIES:
        provide(batch, wallet, op.quote.full)
    terms = size_hold(op.quote, _free(wallet, caps))
    if terms is None:
        return Refused(Reason.FUNDS, op.quote.required, wallet.available, wallet.held)
    rates = rates_text(op.quote.rates)
    batch.record(
        wallet,
        "hold",
        0,
        terms.amount,
        request_id=op.request_id,
        leg=op.leg,
        key_id=op.key_id,
        alias=op.alias,
        input_tokens=terms.input_part,
        output_tokens=terms.output_limit,
        rates=rates,
        rate_version=op.rate_version,
    )
    key.held += terms.amount
    key.open_holds += 1
    batch.opened[place] = batch.holds[place] = _hold_row(batch, op, terms, rates)
    _begin_repeatable(batch, op)
    return Held(terms)


def _hold_row(batch: Batch, op: OpenHold, terms: HoldTerms, rates: str) -> HoldRow:
    return HoldRow(
        request_id=op.request_id,
        leg=op.leg,
        account_id=op.account_id,
        wallet=op.wallet,
        key_id=op.key_id,
        alias=op.alias,
        amount=terms.amount,
        input_part=terms.input_part,
        own_input=op.quote.own_input,
        output_limit=terms.output_limit,
        rates=rates,
        rate_version=op.rate_version,
        paid_rates=None if op.paid is None else orjson.dumps([op.paid.input, op.paid.output]).decode(),
        opened_at_us=batch.now_us,
        lease_owner=batch.lease.owner,
        lease_until_us=batch.now_us + batch.lease.us,
        idempotency_key=None if op.idempotency is None else op.idempotency.key_digest,
    )


def _opened_before(batch: Batch, op: OpenHold, hold: HoldRow) -> Result:
    """The same operation once more, after its outcome was lost on the way: the hold is there."""
    mine = (hold.lease_owner, hold.key_id, hold.wallet, hold.rates)
    if mine != (batch.lease.owner, op.key_id, op.wallet, rates_text(op.quote.rates)):
        return Unknown("a hold that is not yet open")
    # Covered for less than its window, the answer was bounded by the funds; beyond that a stream grows.
    is_part = hold.output_limit >= op.quote.window
    limit = max(hold.output_limit, op.quote.output_limit) if is_part else hold.output_limit
    return Held(HoldTerms(hold.amount, hold.input_part, hold.output_limit, limit))


def _refusal(
    batch: Batch, op: OpenHold, wallet: WalletRow, key: KeyRow, caps: list[tuple[Reason, int]]
) -> Refused | None:
    """Why nothing is held, as far as it is not the wallet's."""
    if key.revoked:
        return Refused(Reason.REVOKED)
    if op.idempotency is not None:
        before = batch.repeats.get(op.idempotency.key_digest)
        if before is not None and before.expires_at_us > batch.now_us:
            return Refused(Reason.REPEATED)
    if wallet.frozen:
        return Refused(Reason.FROZEN)
    if key.open_holds >= OPEN_HOLDS_PER_KEY_MAX:
        return Refused(Reason.OPEN_HOLDS)
    for reason, left in caps:
        if left < op.quote.required:
            return Refused(reason, op.quote.required, max(0, left), key.held)
    return None


def _left_of_caps(batch: Batch, key: KeyRow) -> list[tuple[Reason, int]]:
    """What each cap of the key still lets it hold."""
    now = key.at(batch.now_us)
    if now.cap is None and now.cap_day is None and now.cap_month is None:
        return []
    caps = (
        (Reason.KEY_CAP, now.cap, now.spent),
        (Reason.KEY_CAP_DAY, now.cap_day, now.day_spent),
        (Reason.KEY_CAP_MONTH, now.cap_month, now.month_spent),
    )
    return [(reason, cap - spent - now.held) for reason, cap, spent in caps if cap is not None]


def _free(wallet: WalletRow, caps: list[tuple[Reason, int]]) -> int:
    """What wallet and caps still let be held."""
    free = wallet.available
    for _, left in caps:
        free = min(free, left)
    return free


def _begin_repeatable(batch: Batch, op: OpenHold) -> None:
    if op.idempotency is None:
        return
    digest = op.idempotency.key_digest
    batch.repeats[digest] = RepeatRow(
        key_digest=digest,
        account_id=op.account_id,
        body_digest=op.idempotency.body_digest,
        request_id=op.request_id,
        state="running",
        answer=None,
        expires_at_us=batch.now_us + KEPT_ANSWER_S * US_PER_S,
    )
    batch.repeats_changed.add(digest)


def extend_hold(batch: Batch, op: ExtendHold) -> Result:
    """Hold more for an answer that goes on, as far as wallet and caps allow. Asking twice adds it once."""
    hold = batch.holds.get((op.request_id, op.leg))
    if hold is None:
        return Unknown("an open hold")
    if op.output_limit <= hold.output_limit:
        return Extended(hold.output_limit)
    wallet, key = batch.wallets[(hold.account_id, hold.wallet)], batch.keys[hold.key_id]
    rates = rates_from(hold.rates)
    limit = longest_answer(
        rates,
        hold.input_part,
        hold.amount + max(0, _free(wallet, _left_of_caps(batch, key))),
        least=hold.output_limit,
        most=op.output_limit,
    )
    more, tokens = charge(rates, hold.input_part, limit) - hold.amount, limit - hold.output_limit
    if tokens == 0:
        return Extended(limit)
    batch.record(
        wallet,
        "extend",
        0,
        more,
        request_id=hold.request_id,
        leg=hold.leg,
        key_id=hold.key_id,
        alias=hold.alias,
        input_tokens=0,
        output_tokens=tokens,
    )
    key.held += more
    hold.amount += more
    hold.output_limit = limit
    batch.changed[hold.place] = hold
    return Extended(limit)


def close_hold(batch: Batch, op: CloseHold) -> Result:
    """Post or void a hold. A second end changes nothing and says so."""
    place: Place = (op.request_id, op.leg)
    hold = batch.holds.pop(place, None)
    if hold is None:
        return batch.ended.get(place) or Closed(0, op.rule, already=True)
    wallet, key = batch.wallets[(hold.account_id, hold.wallet)], batch.keys[hold.key_id]
    rule, billed = op.rule, op.billed
    if rule is Rule.EMPTY_ANSWER:
        rule, billed = _empty_answer(batch, key, billed)
    rates = rates_from(hold.rates)
    charged = 0 if billed is None else charge(rates, billed.input, billed.output, billed.cached)
    if charged > hold.amount:
        raise RuleBroken(f"{hold.request_id} would be charged {charged} against a hold of {hold.amount}")
    payee = None if billed is None else op.payee
    record = batch.record(
        wallet,
        "void" if billed is None else "post",
        -charged,
        -hold.amount,
        request_id=hold.request_id,
        leg=hold.leg,
        key_id=hold.key_id,
        alias=hold.alias,
        rule=rule.value,
        input_tokens=None if billed is None else billed.input,
        output_tokens=None if billed is None else billed.output,
        cached_tokens=None if billed is None else billed.cached,
        claimed_input=op.claim.input,
        claimed_output=op.claim.output,
        marks=",".join(billed.marks) if billed and billed.marks else None,
        served_by=op.served_by,
        payee=None if payee is None else payee.partner,
        payee_share=None if payee is None else payee.share,
    )
    batch.book_charge(record, charged, payee)
    if loss := _loss(hold, rule, billed, op.claim):
        batch.book(record, HOUSE_LOSS, -loss)
        batch.book(record, HOUSE_UPSTREAM_COST, loss)
    key.at(batch.now_us).charge(charged)
    key.held -= hold.amount
    key.open_holds -= 1
    _end_repeatable(batch, hold, op.answer, charged=billed is not None)
    batch.changed.pop(place, None)
    if batch.opened.pop(place, None) is None:
        batch.closed.append(place)
    batch.ended[place] = Closed(charged, rule, already=True)
    return Closed(charged, rule)


def _end_repeatable(batch: Batch, hold: HoldRow, answer: str | None, *, charged: bool) -> None:
    """What a repetition finds: the answer, or that it was charged, or nothing, and then it may run anew."""
    row = batch.repeats.get(hold.idempotency_key or "")
    if row is None or row.request_id != hold.request_id:
        return
    batch.repeats_changed.add(row.key_digest)
    if not charged:
        del batch.repeats[row.key_digest]
        return
    row.state, row.answer = ("spent", None) if answer is None else ("kept", answer)
    row.expires_at_us = batch.now_us + KEPT_ANSWER_S * US_PER_S


def _empty_answer(batch: Batch, key: KeyRow, billed: Billed | None) -> tuple[Rule, Billed | None]:
    day = batch.now_us // US_PER_DAY
    if is_another(day, key.empty_day):
        key.empty_day, key.empty_count = day, 0
    if key.empty_count >= EMPTY_ANSWER_REFUNDS_PER_DAY:
        return Rule.COMPLETED, billed
    key.empty_count += 1
    return Rule.EMPTY_ANSWER, None


def _loss(hold: HoldRow, rule: Rule, billed: Billed | None, claim: Claim) -> int:
    """What the upstream may bill us beyond what the caller pays: the input of an answer lost in a crash of
    ours, or a claim above what was billed (all of it when the answer was given back)."""
    if hold.paid_rates is None:
        return 0
    paid_input, paid_output = _paid_from(hold.paid_rates)
    if rule is Rule.CRASH_UNDELIVERED:
        tokens_in, tokens_out = hold.own_input, 0
    elif max(claim.input or 0, claim.output or 0) <= CLAIM_TOKENS_BOOKED_MAX:
        billed = billed or Billed(0, 0)
        tokens_in = max(0, (claim.input or 0) - billed.input)
        tokens_out = max(0, (claim.output or 0) - billed.output)
    else:
        return 0
    return -(-int(tokens_in * paid_input + tokens_out * paid_output) // PICO_PER_NANO)


@lru_cache(maxsize=256)
def _paid_from(text: str) -> tuple[int, int]:
    paid_input, paid_output = orjson.loads(text)
    return int(paid_input), int(paid_output)


def mark_delivered(batch: Batch, op: MarkDelivered) -> Result:
    """Note that output reached the caller, and from whom; the mark only grows."""
    hold = batch.holds.get((op.request_id, op.leg))
    if hold is None:
        return Closed(0, Rule.COMPLETED, already=True)
    hold.delivered_at_us = hold.delivered_at_us or batch.now_us
    hold.delivered_output = max(hold.delivered_output, min(op.output_tokens, hold.output_limit))
    if op.payee is not None:
        hold.payee, hold.payee_share = op.payee.partner, op.payee.share
    batch.changed[hold.place] = hold
    return Balance(0, hold.amount)


DECISIONS: dict[type, Callable[..., Result]] = {
    OpenHold: open_hold,
    ExtendHold: extend_hold,
    CloseHold: close_hold,
    MarkDelivered: mark_delivered,
    Credit: credit,
    Dispute: dispute,
    Refund: refund,
}


def crash_close(hold: HoldRow) -> CloseHold:
    """How a hold ends that a dead process left open: without a delivery mark it is given back, with one the
    input and what was marked are billed, and whoever gave the answer is paid."""
    if hold.delivered_at_us is None:
        return CloseHold(hold.request_id, Rule.CRASH_UNDELIVERED, None, leg=hold.leg)
    billed = Billed(min(hold.own_input, hold.input_part), min(hold.delivered_output, hold.output_limit))
    payee = None if hold.payee is None else Payee(hold.payee, hold.payee_share or 0)
    return CloseHold(hold.request_id, Rule.CRASH_DELIVERED, billed, leg=hold.leg, payee=payee)


def rates_text(rates: Rates) -> str:
    """Rates as a hold keeps them: JSON of three or seven integers."""
    found = [rates.input, rates.output, rates.cached_input]
    if (step := rates.long_context) is not None:
        found += [step.over_tokens, step.input, step.output, step.cached_input]
    return orjson.dumps(found).decode()


@lru_cache(maxsize=256)
def rates_from(text: str) -> Rates:
    """The inverse of `rates_text`."""
    found = orjson.loads(text)
    step = LongContext(*found[3:]) if len(found) > 3 else None
    return Rates(found[0], found[1], found[2], step)

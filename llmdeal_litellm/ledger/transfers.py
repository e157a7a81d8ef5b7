"""The ledger's decisions, pure: given the locked rows of a batch, what each operation does to them.

Hold → post | void, each hold ends exactly once. Operations are decided in arrival order; a refusal is a
value. Nothing here reads a clock or a database. Model: two-phase transfers as TigerBeetle documents them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from llmdeal_litellm.ledger.ops import (
    HOUSE_LOSS,
    HOUSE_REVENUE,
    HOUSE_TOPUPS,
    HOUSE_UPSTREAM_COST,
    Balance,
    Closed,
    CloseHold,
    Credit,
    Dispute,
    Held,
    MarkDelivered,
    OpenHold,
    Reason,
    Refused,
    Result,
    Unknown,
)
from llmdeal_litellm.limits import EMPTY_ANSWER_REFUNDS_PER_DAY, OPEN_HOLDS_PER_KEY_MAX
from llmdeal_litellm.money import PICO_PER_NANO, LongContext, Rates, charge
from llmdeal_litellm.policy.pricing import size_hold
from llmdeal_litellm.policy.usage import Billed, Claim, Rule

US_PER_DAY = 86_400_000_000
LEASE_US = 3_660_000_000
"""Longer than the longest answer that can be configured: a hold past its lease has lost its process."""
CLAIM_TOKENS_BOOKED_MAX = 10_000_000
"""A claim above this is a lie, not a bill: it is kept in the record and not booked as a loss."""


class RuleBroken(Exception):
    """A decision would break an invariant of the ledger. Never the caller's fault, always a defect."""


@dataclass(slots=True)
class WalletRow:
    """A wallet as locked for the batch."""

    account_id: str
    wallet: str
    balance: int
    held: int
    version: int
    frozen: bool = False

    @property
    def available(self) -> int:
        """What can still be held."""
        return self.balance - self.held


@dataclass(slots=True)
class KeyRow:
    """A key as locked for the batch."""

    id: str
    account_id: str
    revoked: bool
    cap: int | None
    spent: int
    held: int
    open_holds: int
    empty_day: int
    empty_count: int


@dataclass(slots=True)
class HoldRow:
    """An open hold."""

    request_id: str
    leg: int
    account_id: str
    wallet: str
    key_id: str
    alias: str
    amount: int
    input_part: int
    own_input: int
    output_limit: int
    rates: str
    rate_version: str
    paid_rates: str | None
    opened_at_us: int
    lease_owner: str
    lease_until_us: int
    delivered_at_us: int | None = None
    delivered_output: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """One immutable row: what changed, and what the wallet was afterwards."""

    account_id: str
    wallet: str
    version: int
    kind: str
    balance_change: int
    held_change: int
    balance_after: int
    held_after: int
    at_us: int
    request_id: str | None = None
    leg: int | None = None
    key_id: str | None = None
    alias: str | None = None
    rule: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    claimed_input: int | None = None
    claimed_output: int | None = None
    marks: str | None = None
    served_by: str | None = None
    rates: str | None = None
    rate_version: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class HouseEntry:
    """The house's side of a record."""

    account_id: str
    wallet: str
    version: int
    house: str
    amount: int


@dataclass(slots=True)
class Batch:
    """The rows a batch locked, and the rows it makes. `now_us` is the batch's time."""

    now_us: int
    lease_owner: str
    wallets: dict[tuple[str, str], WalletRow]
    keys: dict[str, KeyRow]
    holds: dict[tuple[str, int], HoldRow]
    records: list[Record] = field(default_factory=list)
    house: list[HouseEntry] = field(default_factory=list)
    opened: dict[tuple[str, int], HoldRow] = field(default_factory=dict)
    closed: list[tuple[str, int]] = field(default_factory=list)
    marked: dict[tuple[str, int], HoldRow] = field(default_factory=dict)
    frozen: set[str] = field(default_factory=set)

    def record(
        self, wallet: WalletRow, kind: str, balance_change: int, held_change: int, **fields: object
    ) -> Record:
        """Change a wallet and append the record of it; it never goes below zero, nor below its holds."""
        wallet.balance += balance_change
        wallet.held += held_change
        wallet.version += 1
        if wallet.held < 0 or wallet.available < 0:
            raise RuleBroken(f"{kind} would overdraw {wallet.account_id} {wallet.wallet}")
        made = Record(
            wallet.account_id,
            wallet.wallet,
            wallet.version,
            kind,
            balance_change,
            held_change,
            wallet.balance,
            wallet.held,
            self.now_us,
            **fields,  # type: ignore[arg-type]
        )
        self.records.append(made)
        return made

    def book(self, record: Record, house: str, amount: int) -> None:
        """Append the house's side of a record, when there is any."""
        if amount:
            self.house.append(HouseEntry(record.account_id, record.wallet, record.version, house, amount))


def open_hold(batch: Batch, op: OpenHold) -> Result:
    """Hold funds if the caller can pay; one conditional step over wallet and key."""
    wallet, key = batch.wallets.get((op.account_id, op.wallet)), batch.keys.get(op.key_id)
    if wallet is None or key is None or key.account_id != op.account_id:
        return Unknown("account or key")
    existing = batch.holds.get((op.request_id, op.leg))
    if existing is not None:
        return Unknown("a hold that is not yet open")
    if key.revoked:
        return Refused(Reason.REVOKED)
    if wallet.frozen:
        return Refused(Reason.FROZEN)
    if key.open_holds >= OPEN_HOLDS_PER_KEY_MAX:
        return Refused(Reason.OPEN_HOLDS)
    if key.cap is not None and (left := key.cap - key.spent - key.held) < op.quote.required:
        return Refused(Reason.KEY_CAP, op.quote.required, max(0, left), key.held)
    available = wallet.available if key.cap is None else min(wallet.available, key.cap - key.spent - key.held)
    terms = size_hold(op.quote, available)
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
    hold = HoldRow(
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
        lease_owner=batch.lease_owner,
        lease_until_us=batch.now_us + LEASE_US,
    )
    batch.holds[(op.request_id, op.leg)] = batch.opened[(op.request_id, op.leg)] = hold
    return Held(terms)


def close_hold(batch: Batch, op: CloseHold) -> Result:
    """Post or void a hold. A second end changes nothing and says so."""
    hold = batch.holds.pop((op.request_id, op.leg), None)
    if hold is None:
        return Closed(0, op.rule, already=True)
    wallet, key = batch.wallets[(hold.account_id, hold.wallet)], batch.keys[hold.key_id]
    rule, billed = op.rule, op.billed
    if rule is Rule.EMPTY_ANSWER:
        rule, billed = _empty_answer(batch, key, billed)
    rates = rates_from(hold.rates)
    charged = 0 if billed is None else charge(rates, billed.input, billed.output, billed.cached)
    if charged > hold.amount:
        raise RuleBroken(f"{hold.request_id} would be charged {charged} against a hold of {hold.amount}")
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
    )
    batch.book(record, HOUSE_REVENUE, charged)
    loss = _loss(hold, rule, billed, op.claim)
    batch.book(record, HOUSE_LOSS, -loss)
    batch.book(record, HOUSE_UPSTREAM_COST, loss)
    key.spent += charged
    key.held -= hold.amount
    key.open_holds -= 1
    batch.marked.pop((op.request_id, op.leg), None)
    if batch.opened.pop((op.request_id, op.leg), None) is None:
        batch.closed.append((op.request_id, op.leg))
    return Closed(charged, rule)


def _empty_answer(batch: Batch, key: KeyRow, billed: Billed | None) -> tuple[Rule, Billed | None]:
    day = batch.now_us // US_PER_DAY
    if key.empty_day != day:
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
    paid_input, paid_output = map(int, orjson.loads(hold.paid_rates))
    if rule is Rule.CRASH_UNDELIVERED:
        tokens_in, tokens_out = hold.own_input, 0
    elif max(claim.input or 0, claim.output or 0) <= CLAIM_TOKENS_BOOKED_MAX:
        billed = billed or Billed(0, 0)
        tokens_in = max(0, (claim.input or 0) - billed.input)
        tokens_out = max(0, (claim.output or 0) - billed.output)
    else:
        return 0
    return -(-int(tokens_in * paid_input + tokens_out * paid_output) // PICO_PER_NANO)


def mark_delivered(batch: Batch, op: MarkDelivered) -> Result:
    """Note that output reached the caller; the mark only grows."""
    hold = batch.holds.get((op.request_id, op.leg))
    if hold is None:
        return Closed(0, Rule.COMPLETED, already=True)
    hold.delivered_at_us = hold.delivered_at_us or batch.now_us
    hold.delivered_output = max(hold.delivered_output, min(op.output_tokens, hold.output_limit))
    batch.marked[(op.request_id, op.leg)] = hold
    return Balance(0, hold.amount)


def credit(batch: Batch, op: Credit) -> Result:
    """Money in: the house's top-ups account is the other side."""
    _require_amount(op.amount)
    wallet = batch.wallets.get((op.account_id, op.wallet))
    if wallet is None:
        return Unknown("account")
    record = batch.record(wallet, "credit", op.amount, 0, note=op.note or None)
    batch.book(record, HOUSE_TOPUPS, -op.amount)
    return Balance(wallet.balance, wallet.held)


def _require_amount(amount: int) -> None:
    if amount < 0:
        raise RuleBroken(f"{amount} is not an amount to move")


def dispute(batch: Batch, op: Dispute) -> Result:
    """Take back a disputed payment and freeze the account."""
    _require_amount(op.amount)
    wallet = batch.wallets.get((op.account_id, op.wallet))
    if wallet is None:
        return Unknown("account")
    taken = min(op.amount, wallet.available)
    record = batch.record(wallet, "dispute", -taken, 0, note=op.note or None)
    batch.book(record, HOUSE_TOPUPS, op.amount)
    batch.book(record, HOUSE_LOSS, taken - op.amount)
    batch.frozen.add(op.account_id)
    for row in batch.wallets.values():
        if row.account_id == op.account_id:
            row.frozen = True
    return Balance(wallet.balance, wallet.held)


DECISIONS: dict[type, Callable[..., Result]] = {
    OpenHold: open_hold,
    CloseHold: close_hold,
    MarkDelivered: mark_delivered,
    Credit: credit,
    Dispute: dispute,
}


def crash_close(hold: HoldRow) -> CloseHold:
    """How a hold ends that a dead process left open: without a delivery mark it is given back, with one the
    input and what was marked are billed."""
    if hold.delivered_at_us is None:
        return CloseHold(hold.request_id, Rule.CRASH_UNDELIVERED, None, leg=hold.leg)
    billed = Billed(min(hold.own_input, hold.input_part), min(hold.delivered_output, hold.output_limit))
    return CloseHold(hold.request_id, Rule.CRASH_DELIVERED, billed, leg=hold.leg)


def rates_text(rates: Rates) -> str:
    """Rates as a hold keeps them: JSON of three or seven integers."""
    found = [rates.input, rates.output, rates.cached_input]
    if (step := rates.long_context) is not None:
        found += [step.over_tokens, step.input, step.output, step.cached_input]
    return orjson.dumps(found).decode()


def rates_from(text: str) -> Rates:
    """The inverse of `rates_text`."""
    found = orjson.loads(text)
    step = LongContext(*found[3:]) if len(found) > 3 else None
    return Rates(found[0], found[1], found[2], step)

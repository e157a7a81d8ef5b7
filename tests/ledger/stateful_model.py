"""The ledger as sums over what happened: no counters that could go stale, no tables, no transactions.

What a key spent on a day is the sum of its charges of that day, what is held the cost of what the open holds
cover, and the longest answer that an amount pays for is found by trying every length. Operations are applied
one after the other; doing one again does nothing and answers as before.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from stateful_terms import SECOND_US, SPANS, cost, day_of, earned, sized

from llmdeal_litellm.accounts.admin import Span
from llmdeal_litellm.catalog.model import Payee
from llmdeal_litellm.ledger.ops import (
    Balance,
    Closed,
    CloseHold,
    Credit,
    Dispute,
    Extended,
    ExtendHold,
    Held,
    MarkDelivered,
    Op,
    OpenHold,
    PaidRates,
    Reason,
    Refund,
    Refunded,
    Refused,
    Result,
    Unknown,
)
from llmdeal_litellm.ledger.transfers import CLAIM_TOKENS_BOOKED_MAX
from llmdeal_litellm.limits import EMPTY_ANSWER_REFUNDS_PER_DAY, KEPT_ANSWER_S, OPEN_HOLDS_PER_KEY_MAX
from llmdeal_litellm.policy.pricing import HoldTerms, Quote
from llmdeal_litellm.policy.usage import NO_CLAIM, Billed, Claim, Rule

Place = tuple[str, int]
"""A request and its leg."""
Purse = tuple[str, str]
"""An account and one of its wallets."""

CAPPED = {Span.LIFE: Reason.KEY_CAP, Span.DAY: Reason.KEY_CAP_DAY, Span.MONTH: Reason.KEY_CAP_MONTH}


@dataclass
class Key:
    """What happened to a key. A moment that comes late counts as the latest that was seen."""

    account: str
    caps: dict[Span, int] = field(default_factory=dict)
    revoked: bool = False
    charges: list[tuple[int, int]] = field(default_factory=list)
    refunds: list[int] = field(default_factory=list)
    seen_us: int = 0

    def spent(self, span: Span, now_us: int) -> int:
        """The charges of the span that this moment is in."""
        same = SPANS[span]
        this = same(max(now_us, self.seen_us))
        return sum(amount for moment_us, amount in self.charges if same(moment_us) == this)

    def refunded_today(self, now_us: int) -> int:
        """How many empty answers were given back on the day of this moment."""
        today = day_of(max([now_us, *self.refunds]))
        return sum(day_of(moment_us) == today for moment_us in self.refunds)


@dataclass
class Hold:
    """An open hold."""

    place: Place
    purse: Purse
    key: str
    owner: str
    quote: Quote
    paid: PaidRates | None
    digest: str | None
    lease_until_us: int
    input_part: int
    output_limit: int
    marked: int | None = None
    payee: Payee | None = None

    @property
    def amount(self) -> int:
        """What is held."""
        return cost(self.quote.rates, self.input_part, self.output_limit)


@dataclass
class Repeat:
    """What became of a request that named an Idempotency-Key."""

    account: str
    request: str
    state: str
    answer: str | None
    expires_at_us: int


@dataclass(frozen=True)
class Entry:
    """One version of a wallet: what changed, and for which hold."""

    kind: str
    balance_change: int
    held_change: int
    place: Place | None = None
    rule: str | None = None
    payee: Payee | None = None


@dataclass(frozen=True)
class Charge:
    """What was charged for a hold that has ended, and who earned a share of it."""

    purse: Purse
    amount: int
    payee: Payee | None


@dataclass
class Model:
    """Accounts, keys, holds, and the house, with the same sentences as the ledger's. `freed` are the
    Idempotency-Keys whose last request was given back."""

    lease_us: int
    balances: dict[Purse, int] = field(default_factory=dict)
    journal: dict[Purse, list[Entry]] = field(default_factory=dict)
    frozen: set[str] = field(default_factory=set)
    keys: dict[str, Key] = field(default_factory=dict)
    holds: dict[Place, Hold] = field(default_factory=dict)
    ends: dict[Place, Closed] = field(default_factory=dict)
    repeats: dict[str, Repeat] = field(default_factory=dict)
    freed: set[str] = field(default_factory=set)
    charges: dict[Place, Charge] = field(default_factory=dict)
    refunded: set[Place] = field(default_factory=set)
    house: Counter[str] = field(default_factory=Counter)

    def found(self, account: str) -> None:
        """A new account, with nothing in its wallets."""
        for wallet in ("base", "frontier"):
            self.balances[account, wallet], self.journal[account, wallet] = 0, []

    def versions(self) -> dict[Purse, int]:
        """How many entries each wallet has."""
        return {purse: len(entries) for purse, entries in self.journal.items()}

    def held(self, purse: Purse) -> int:
        """What the open holds of a wallet cover."""
        return sum(h.amount for h in self.holds.values() if h.purse == purse)

    def available(self, purse: Purse) -> int:
        """What can still be held."""
        return self.balances[purse] - self.held(purse)

    def held_by(self, key: str) -> list[Hold]:
        """The open holds of a key."""
        return [h for h in self.holds.values() if h.key == key]

    def apply(self, op: Op, owner: str, now_us: int) -> Result:
        """What an operation does and answers when this worker has it done at this moment."""
        match op:
            case OpenHold():
                return self._open(op, owner, now_us)
            case ExtendHold(request, limit, leg):
                return self._extend((request, leg), limit, now_us)
            case CloseHold(request, rule, billed, claim, _, leg, answer, payee):
                hold = self.holds.get((request, leg))
                if hold is None:
                    return self.ends.get((request, leg)) or Closed(0, rule, already=True)
                return self._end(hold, rule, billed, now_us, claim, answer, payee)
            case MarkDelivered(request, tokens, leg, payee):
                return self._mark((request, leg), tokens, payee)
            case Credit(account, wallet, amount):
                return self._credit((account, wallet), amount)
            case Dispute(account, wallet, amount):
                return self._dispute((account, wallet), amount)
            case Refund():
                return self._refund(op)

    def _enter(self, purse: Purse, kind: str, balance: int, held: int, *hold: object) -> None:
        self.balances[purse] += balance
        self.journal[purse].append(Entry(kind, balance, held, *hold))  # type: ignore[arg-type]

    def _left(self, key: Key, held: int, now_us: int) -> dict[Span, int]:
        """What each cap lets a key hold beside what it holds, in the order in which caps are checked."""
        return {s: key.caps[s] - key.spent(s, now_us) - held for s in Span if s in key.caps}

    def _open(self, op: OpenHold, owner: str, now_us: int) -> Result:
        place, purse, key = (op.request_id, op.leg), (op.account_id, op.wallet), self.keys.get(op.key_id)
        if purse not in self.balances or key is None or key.account != op.account_id:
            return Unknown("account or key")
        if place in self.holds:
            return self._opened_before(op, self.holds[place], owner)
        if place in self.ends:
            return Unknown("a hold that is not yet open")
        key_held = sum(h.amount for h in self.held_by(op.key_id))
        refused = self._refused(op, key, key_held, now_us)
        if refused is not None:
            return refused
        left = self._left(key, key_held, now_us)
        available = self.available(purse)
        terms = sized(op.quote, min([available, *left.values()]))
        digest = None if op.idempotency is None else op.idempotency.key_digest
        self.holds[place] = Hold(
            place=place,
            purse=purse,
            key=op.key_id,
            owner=owner,
            quote=op.quote,
            paid=op.paid,
            digest=digest,
            lease_until_us=now_us + self.lease_us,
            input_part=terms.input_part,
            output_limit=terms.output_limit,
        )
        self._enter(purse, "hold", 0, terms.amount, place)
        key.seen_us = max(key.seen_us, now_us)
        if digest is not None:
            expires_at_us = now_us + KEPT_ANSWER_S * SECOND_US
            self.freed.discard(digest)
            self.repeats[digest] = Repeat(op.account_id, op.request_id, "running", None, expires_at_us)
        return Held(terms)

    def _opened_before(self, op: OpenHold, hold: Hold, owner: str) -> Result:
        if owner != hold.owner:
            return Unknown("a hold that is not yet open")
        # How far a lack of funds had lowered the limit of a stream is not kept: it may have it whole.
        covered, whole = hold.output_limit, hold.output_limit < op.quote.window
        limit = covered if whole else max(covered, op.quote.output_limit)
        return Held(HoldTerms(hold.amount, hold.input_part, covered, limit))

    def _refused(self, op: OpenHold, key: Key, key_held: int, now_us: int) -> Refused | None:
        needed, purse = op.quote.required, (op.account_id, op.wallet)
        before = self.repeats.get(op.idempotency.key_digest) if op.idempotency else None
        if key.revoked:
            return Refused(Reason.REVOKED)
        if before is not None and before.expires_at_us > now_us:
            return Refused(Reason.REPEATED)
        if op.account_id in self.frozen:
            return Refused(Reason.FROZEN)
        if len(self.held_by(op.key_id)) >= OPEN_HOLDS_PER_KEY_MAX:
            return Refused(Reason.OPEN_HOLDS)
        for span, left in self._left(key, key_held, now_us).items():
            if left < needed:
                return Refused(CAPPED[span], needed, max(0, left), key_held)
        available = self.available(purse)
        if available < needed:
            return Refused(Reason.FUNDS, needed, available, self.held(purse))
        return None

    def _extend(self, place: Place, wanted: int, now_us: int) -> Result:
        hold = self.holds.get(place)
        if hold is None:
            return Unknown("an open hold")
        before, covered, key = hold.amount, hold.output_limit, self.keys[hold.key]
        left = self._left(key, sum(h.amount for h in self.held_by(hold.key)), now_us)
        free = max(0, min([self.available(hold.purse), *left.values()]))
        for tokens in range(covered + 1, wanted + 1):
            if cost(hold.quote.rates, hold.input_part, tokens) <= before + free:
                hold.output_limit = tokens
        if hold.output_limit > covered:
            self._enter(hold.purse, "extend", 0, hold.amount - before, place)
            key.seen_us = max(key.seen_us, now_us)
        return Extended(hold.output_limit)

    def _mark(self, place: Place, tokens: int, payee: Payee | None) -> Result:
        hold = self.holds.get(place)
        if hold is None:
            return Closed(0, Rule.COMPLETED, already=True)
        hold.marked = max(hold.marked or 0, min(tokens, hold.output_limit))
        hold.payee = payee or hold.payee
        return Balance(0, hold.amount)

    def _end(
        self,
        hold: Hold,
        rule: Rule,
        billed: Billed | None,
        now_us: int,
        claim: Claim = NO_CLAIM,
        answer: str | None = None,
        payee: Payee | None = None,
    ) -> Closed:
        """Charge or give back, once; of empty answers so many a day are given back."""
        key = self.keys[hold.key]
        if rule is Rule.EMPTY_ANSWER:
            if key.refunded_today(now_us) < EMPTY_ANSWER_REFUNDS_PER_DAY:
                billed = None
                key.refunds.append(max([now_us, *key.refunds]))
            else:
                rule = Rule.COMPLETED
        tokens = billed or Billed(0, 0)
        charged = cost(hold.quote.rates, tokens.input, tokens.output, tokens.cached)
        kind, payee = ("void", None) if billed is None else ("post", payee)
        self._enter(hold.purse, kind, -charged, -hold.amount, hold.place, rule.value, payee)
        if charged:
            self.charges[hold.place] = Charge(hold.purse, charged, payee)
        loss = self._loss(hold, rule, tokens, claim)
        self.house.update({**earned(charged, payee), "loss": -loss, "upstream_cost": loss})
        key.seen_us = max(key.seen_us, now_us)
        key.charges.append((key.seen_us, charged))
        self._end_repeat(hold, billed is not None, answer, now_us)
        del self.holds[hold.place]
        self.ends[hold.place] = Closed(charged, rule, already=True)
        return Closed(charged, rule)

    def _end_repeat(self, hold: Hold, charged: bool, answer: str | None, now_us: int) -> None:
        before = self.repeats.get(hold.digest or "")
        if before is None or before.request != hold.place[0]:
            return
        if not charged:
            del self.repeats[hold.digest or ""]
            self.freed.add(hold.digest or "")
            return
        before.state, before.answer = ("spent", None) if answer is None else ("kept", answer)
        before.expires_at_us = now_us + KEPT_ANSWER_S * SECOND_US

    def _loss(self, hold: Hold, rule: Rule, billed: Billed, claim: Claim) -> int:
        """The input of an answer that a crash lost, or what a claim is above the bill, at what we pay."""
        claimed_in, claimed_out = claim.input or 0, claim.output or 0
        if hold.paid is None or max(claimed_in, claimed_out) > CLAIM_TOKENS_BOOKED_MAX:
            return 0
        lost = (max(0, claimed_in - billed.input), max(0, claimed_out - billed.output))
        if rule is Rule.CRASH_UNDELIVERED:
            lost = (hold.quote.own_input, 0)
        return (lost[0] * hold.paid.input + lost[1] * hold.paid.output + 999) // 1000

    def _credit(self, purse: Purse, amount: int) -> Result:
        if purse not in self.balances:
            return Unknown("account")
        self._enter(purse, "credit", amount, 0)
        self.house["topups"] -= amount
        return Balance(self.balances[purse], self.held(purse))

    def _dispute(self, purse: Purse, amount: int) -> Result:
        """What is there is taken, the rest is lost, and the account freezes."""
        if purse not in self.balances:
            return Unknown("account")
        taken = min(amount, self.available(purse))
        self._enter(purse, "dispute", -taken, 0)
        self.house.update({"topups": amount, "loss": taken - amount})
        self.frozen.add(purse[0])
        return Balance(self.balances[purse], self.held(purse))

    def _refund(self, op: Refund) -> Result:
        """A charge is given back, once, by all who earned of it."""
        purse, place = (op.account_id, op.wallet), (op.request_id, op.leg)
        if place in self.refunded:
            return Refunded()
        self.refunded.add(place)
        self._enter(purse, "credit", op.charged, 0, place, "refund", op.payee)
        self.house.subtract(earned(op.charged, op.payee))
        return Balance(self.balances[purse], self.held(purse))

    def renew(self, places: set[Place], now_us: int) -> None:
        """A worker says that it still has these."""
        for place in places & self.holds.keys():
            self.holds[place].lease_until_us = now_us + self.lease_us

    def reap(self, now_us: int, *, all_of_them: bool = False) -> list[Closed]:
        """End the holds of the dead: those whose lease ended more than a quarter of a lease ago."""
        dead_us = now_us - self.lease_us // 4
        dead = [h for h in self.holds.values() if all_of_them or h.lease_until_us < dead_us]
        closed = [self._crash(hold, now_us) for hold in dead]
        self.repeats = {d: r for d, r in self.repeats.items() if r.expires_at_us >= now_us}
        return closed

    def _crash(self, hold: Hold, now_us: int) -> Closed:
        """What reached the caller is charged, with the input; nothing when nothing did."""
        if hold.marked is None:
            return self._end(hold, Rule.CRASH_UNDELIVERED, None, now_us)
        billed = Billed(min(hold.quote.own_input, hold.input_part), hold.marked)
        return self._end(hold, Rule.CRASH_DELIVERED, billed, now_us, payee=hold.payee)


Intent = Callable[[Model], Op]
"""An operation that is made up when its turn comes: what is billed must be within what is held by then."""

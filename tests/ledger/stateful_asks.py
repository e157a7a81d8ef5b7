"""What a run is made of: what callers ask, how requests end, how workers die, how time
passes, and when it begins."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

from hypothesis import strategies as st
from stateful_model import Intent, Model, Place
from stateful_terms import SECOND_US, at, cost

from llmdeal_litellm.accounts.admin import Span
from llmdeal_litellm.catalog.model import Payee
from llmdeal_litellm.ledger.ops import (
    CloseHold,
    ExtendHold,
    Idempotency,
    MarkDelivered,
    OpenHold,
    PaidRates,
    Refund,
)
from llmdeal_litellm.limits import KEPT_ANSWER_S
from llmdeal_litellm.money import LongContext, Rates
from llmdeal_litellm.policy.pricing import ALL_OF_IT, Quote
from llmdeal_litellm.policy.usage import Billed, Claim, Rule

LEASE_US = 40 * SECOND_US
LATE_US = SECOND_US
"""A transaction may have waited so long for its locks since it looked at the clock."""

RATES = (
    Rates.flat(1000, 1000),
    Rates.flat(150, 600),
    Rates(1000, 3000, 250),
    Rates(1000, 2000, 500, LongContext(120, 2000, 3000, 1000)),
    Rates.flat(0, 0),
)
"""One nano-USD a token; parts of one, so that rounding shows; cached input; a long context; nothing."""

AMOUNT = st.integers(0, 3000)
ROOM = st.sampled_from((None, -50, 0, 70, 70, 300, 1000))
"""How much more than it has used by now a key may use; None: no cap."""
PICK = st.integers(0, 15)
"""Which of several, counted from the latest."""
KEY = st.sampled_from((0, 0, 0, 0, 1, 1, 2, 3))
ACCOUNT = st.integers(0, 1)
WALLET = st.sampled_from(("base", "base", "frontier"))
SPAN = st.sampled_from(Span)
CHARGED = st.sampled_from(
    (
        Rule.COMPLETED,
        Rule.COMPLETED,
        Rule.EMPTY_ANSWER,
        Rule.UPSTREAM_CUT,
        Rule.CALLER_LEFT,
        Rule.GATEWAY_STOPPED,
    )
)
GIVEN_BACK = st.sampled_from((Rule.FAILED_BEFORE_OUTPUT, Rule.CALLER_LEFT_BEFORE_DISPATCH))


_PARTNERS = (Payee("p1", 7000), Payee("p1", 3333), Payee("p2", 0), Payee("p2", 10_000))
PAYEES = st.sampled_from((None, None, *_PARTNERS))
"""Nobody, and partners whose share is even, odd, nothing, and everything."""


def _us(*moment: int) -> int:
    return (datetime(*moment, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


START = st.sampled_from((_us(2025, 6, 15, 15), _us(2024, 2, 28, 23, 59), _us(2025, 12, 31, 23, 59, 30)))
"""An afternoon, shortly before a leap day, and shortly before a new year."""


class Leap(Enum):
    """How far time moves."""

    SECOND = "a second"
    QUARTER = "a quarter of a lease"
    LEASE = "a lease"
    DEATH = "as long as the dead are waited for"
    AFTER_DEATH = "a moment longer than that"
    MIDNIGHT = "until after midnight"
    MONTH = "until after the month's end"
    KEPT = "as long as answers are kept"

    def after(self, now_us: int) -> int:
        """The moment to which it leads."""
        midnight = at(now_us).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        match self:
            case Leap.MIDNIGHT:
                return _us(*midnight.timetuple()[:6]) + SECOND_US // 2
            case Leap.MONTH:
                first = midnight if midnight.day == 1 else midnight.replace(day=1) + timedelta(days=32)
                first = first.replace(day=1)
                return _us(*first.timetuple()[:6]) + SECOND_US // 2
            case _:
                return now_us + PASSES_US[self]


PASSES_US = {
    Leap.SECOND: SECOND_US,
    Leap.QUARTER: LEASE_US // 4,
    Leap.LEASE: LEASE_US,
    Leap.DEATH: LEASE_US + LEASE_US // 4,
    Leap.AFTER_DEATH: LEASE_US + LEASE_US // 4 + 1,
    Leap.KEPT: KEPT_ANSWER_S * SECOND_US,
}


class Death(Enum):
    """How a worker dies."""

    LOST = "with what waits"
    SPOOLED = "with what waits on its disk"
    READ = "with what waits on its disk, where the next one reads it"
    FOUND = "and the next one ends what it left"
    ALL = "with all others, and one starts alone"


@dataclass(frozen=True)
class Ask:
    """A request: its tokens, `more` of which are only a bound, what it may say, and how it is paid for."""

    own: int
    limit: int
    more: int = 0
    rate: int = 0
    floor: int = 64
    expected: int = 0
    window: int = 0
    paid: bool = False
    wallet: str = "base"
    named: int | None = None

    @property
    def quote(self) -> Quote:
        """As the gateway asks for it."""
        floor, window = min(self.limit, self.floor), self.window or ALL_OF_IT
        bound = self.own + self.more
        return Quote(RATES[self.rate], self.own, bound, self.limit, floor, self.expected, window)


def _asks(limit: int, windows: tuple[int, ...]) -> st.SearchStrategy[Ask]:
    return st.builds(
        Ask,
        own=st.integers(0, 200),
        limit=st.integers(0, limit),
        more=st.integers(0, 60),
        rate=st.sampled_from((0, 0, 0, 1, 2, 3, 4)),
        floor=st.sampled_from((64, 64, 10)),
        expected=st.sampled_from((0, 0, 150)),
        window=st.sampled_from(windows),
        paid=st.booleans(),
        wallet=WALLET,
        named=st.sampled_from((None, None, None, 0, 1)),
    )


ASKS, STREAMS = _asks(300, (0,)), _asks(600, (20, 100))


@dataclass(frozen=True)
class Bill:
    """How a request ends: how many eighths of the input part and of the answer that is covered are billed,
    how many of the input came from a cache, by how much the upstream claims more, what is kept of it, and who
    earns a share."""

    rule: Rule
    input: int = 8
    output: int = 8
    cached: int = 0
    claimed_input: int | None = None
    claimed_output: int | None = None
    answer: str | None = None
    payee: Payee | None = None


NOTHING = Bill(Rule.EMPTY_ANSWER, output=0)
_EIGHTHS = st.sampled_from((8, 8, 4, 1, 0))
_CLAIM = st.sampled_from((None, 0, 7, 100, 20_000_000))
BILLS = st.builds(
    Bill,
    rule=CHARGED,
    input=_EIGHTHS,
    output=_EIGHTHS,
    cached=_EIGHTHS,
    claimed_input=_CLAIM,
    claimed_output=_CLAIM,
    answer=st.sampled_from((None, "sealed")),
    payee=PAYEES,
)


def opening(ask: Ask, place: Place, account: str, key: str) -> OpenHold:
    """The hold that a request asks for."""
    paid = PaidRates(300, 700) if ask.paid else None
    named = None if ask.named is None else Idempotency(f"{account}/{ask.named}", "body")
    return OpenHold(
        place[0], account, ask.wallet, key, "smart-route", ask.quote, "rates-1", paid, place[1], named
    )


def settlement(place: Place, bill: Bill) -> Intent:
    """A bill within what is held when its turn comes."""

    def of(model: Model) -> CloseHold:
        hold = model.holds.get(place)
        covered = (hold.input_part, hold.output_limit) if hold else (0, 0)
        read, written = covered[0] * bill.input // 8, covered[1] * bill.output // 8
        claims = ((read, bill.claimed_input), (written, bill.claimed_output))
        claim = Claim(*(None if more is None else tokens + more for tokens, more in claims))
        billed = Billed(read, written, read * bill.cached // 8)
        return CloseHold(place[0], bill.rule, billed, claim, "upstream-1", place[1], bill.answer, bill.payee)

    return of


def mark(place: Place, output: int, payee: Payee | None = None) -> Intent:
    """So many tokens reached the caller."""
    return lambda _: MarkDelivered(place[0], output, place[1], payee)


def giving_back(place: Place, note: str) -> Intent:
    """An operator gives back what was charged."""

    def of(model: Model) -> Refund:
        charge = model.charges[place]
        whose, payee = (*charge.purse, *place), charge.payee
        return Refund(*whose, charge.amount, "smart-route", payee, note)

    return of


def extension(place: Place, more: int) -> Intent:
    """So many tokens more than are covered when its turn comes."""

    def of(model: Model) -> ExtendHold:
        hold = model.holds.get(place)
        return ExtendHold(place[0], max(0, (hold.output_limit if hold else 0) + more), place[1])

    return of


def overcharge(place: Place) -> Intent:
    """A bill beyond what is held, as only a defect of the gateway could make it."""

    def of(model: Model) -> CloseHold:
        hold = model.holds[place]
        tokens = hold.output_limit
        while cost(hold.quote.rates, hold.input_part, tokens) <= hold.amount:
            tokens += 1
        return CloseHold(place[0], Rule.COMPLETED, Billed(hold.input_part, tokens), leg=place[1])

    return of

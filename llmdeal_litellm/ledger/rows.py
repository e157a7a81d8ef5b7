"""The ledger's rows, and a batch of them: locked, changed in memory by `transfers`, then written. Pure."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from llmdeal_litellm.catalog.model import Payee
from llmdeal_litellm.ledger.ops import CANARIES, HOUSE_REVENUE, HOUSE_UPSTREAM_COST, PAYABLE, Closed
from llmdeal_litellm.money import share_of

US_PER_S = 1_000_000
US_PER_DAY = 86_400 * US_PER_S


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
    cap_day: int | None = None
    cap_month: int | None = None
    day: int = 0
    day_spent: int = 0
    month: int = 0
    month_spent: int = 0

    def at(self, now_us: int) -> "KeyRow":
        """The key with what it spent in the day and month of this moment."""
        day, month = now_us // US_PER_DAY, month_of(now_us)
        if day != self.day and is_another(day, self.day):
            self.day, self.day_spent = day, 0
        if month != self.month and is_another(month, self.month):
            self.month, self.month_spent = month, 0
        return self

    def charge(self, amount: int) -> None:
        """Book a charge, in each of the spans that a cap is for."""
        self.spent += amount
        self.day_spent += amount
        self.month_spent += amount


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
    idempotency_key: str | None = None
    payee: str | None = None
    payee_share: int | None = None

    @property
    def place(self) -> "Place":
        """What names the hold."""
        return (self.request_id, self.leg)


@dataclass(slots=True)
class RepeatRow:
    """A request that named an Idempotency-Key, and what became of it."""

    key_digest: str
    account_id: str
    body_digest: str
    request_id: str
    state: str
    answer: str | None
    expires_at_us: int


# Not frozen: frozen ones take three times as long to make, and one is made for every operation.
@dataclass(slots=True)
class Record:
    """One row that is never changed: what changed, and what the wallet was afterwards."""

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
    payee: str | None = None
    payee_share: int | None = None


@dataclass(slots=True)
class HouseEntry:
    """The house's side of a record."""

    account_id: str
    wallet: str
    version: int
    house: str
    amount: int


Place = tuple[object, ...]
"""The columns that name a row."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Who opens holds, and for how long they stay his when he is not heard of again."""

    owner: str
    us: int


@dataclass(slots=True)
class Batch:
    """The rows a batch locked, and the rows it makes. `now_us` is the batch's time; `ended` says how holds
    ended that are not there any more, `refunded` which charges were given back."""

    now_us: int
    lease: Lease
    wallets: dict[Place, WalletRow]
    keys: dict[str, KeyRow]
    holds: dict[Place, HoldRow]
    repeats: dict[str, RepeatRow] = field(default_factory=dict)
    ended: dict[Place, Closed] = field(default_factory=dict)
    refunded: set[Place] = field(default_factory=set)
    records: list[Record] = field(default_factory=list)
    house: list[HouseEntry] = field(default_factory=list)
    opened: dict[Place, HoldRow] = field(default_factory=dict)
    closed: list[Place] = field(default_factory=list)
    changed: dict[Place, HoldRow] = field(default_factory=dict)
    repeats_before: frozenset[str] = frozenset()
    repeats_changed: set[str] = field(default_factory=set)
    frozen: set[str] = field(default_factory=set)

    def changed_wallets(self) -> list[WalletRow]:
        """Those with a new record."""
        places: set[Place] = {(r.account_id, r.wallet) for r in self.records}
        return [row for place, row in self.wallets.items() if place in places]

    def changed_keys(self) -> list[KeyRow]:
        """Those with a new record."""
        ids = {r.key_id for r in self.records if r.key_id is not None}
        return [row for key_id, row in self.keys.items() if key_id in ids]

    def record(
        self, wallet: WalletRow, kind: str, balance_change: int, held_change: int, **fields: object
    ) -> Record:
        """Change a wallet and append the record of it; it never goes below zero, nor below its holds."""
        wallet.balance += balance_change
        wallet.held += held_change
        wallet.version += 1
        if wallet.held < 0 or wallet.balance < wallet.held:
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

    def book_charge(self, record: Record, charged: int, payee: Payee | None) -> None:
        """Append who earns a charge, or gives it back when it is negative: the payee his share, the house the
        rest."""
        shared = 0
        if payee is not None:
            shared = share_of(abs(charged), payee.share) * (1 if charged > 0 else -1)
            self.book(record, PAYABLE + payee.partner, shared)
        ours = HOUSE_UPSTREAM_COST if record.account_id == CANARIES else HOUSE_REVENUE
        self.book(record, ours, charged - shared)


def is_another(span: int, counted: int) -> bool:
    """Whether the count of another day or month begins. A transaction that looked at the clock before
    midnight, and had its turn after one of the new day, belongs to the new day: no count begins twice."""
    return span not in (counted, counted - 1)


@lru_cache(maxsize=16)  # a batch asks for the same moment again and again
def month_of(now_us: int) -> int:
    """Months since the year 0, of a moment in UTC."""
    at = datetime.fromtimestamp(now_us // US_PER_S, UTC)
    return 12 * at.year + at.month

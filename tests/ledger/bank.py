"""A ledger in a real store, moved one transaction at a time, at a time that the test sets."""

from llmdeal_litellm.accounts.admin import NO_CAPS, Admin, Caps
from llmdeal_litellm.ledger.batch import resolve_crashed, run_batch
from llmdeal_litellm.ledger.ops import Balance, Idempotency, Op, OpenHold, PaidRates, Result
from llmdeal_litellm.ledger.rows import US_PER_S, Lease
from llmdeal_litellm.ledger.verify import verify
from llmdeal_litellm.money import PICO_PER_NANO, Rates
from llmdeal_litellm.policy.pricing import ALL_OF_IT, Quote

from .places import Place

NOON_US = 1_750_000_000_000_000
DAY_US = 86_400_000_000
LEASE = Lease("test", 60 * US_PER_S)
ONE_NANO_A_TOKEN = Rates.flat(PICO_PER_NANO, PICO_PER_NANO)
"""A rate that lets a reader check amounts by adding up tokens."""

UNGUARDED = {
    False: (
        "DROP TRIGGER records_not_updated",
        "DROP TRIGGER records_not_deleted",
        "DROP TRIGGER house_entries_not_updated",
        "DROP TRIGGER house_entries_not_deleted",
        "DROP INDEX records_end",
    ),
    True: (
        "ALTER TABLE records DISABLE TRIGGER USER",
        "ALTER TABLE house_entries DISABLE TRIGGER USER",
        "DROP INDEX records_end",
    ),
}
"""By whether the store is a server."""


class Bank:
    """A migrated store and the operator's hands on it. `fsync` off makes thousands of steps affordable."""

    def __init__(self, place: Place, *, fsync: bool = False) -> None:
        self.place = place
        self.database = place.open(fsync=fsync)
        self.admin = Admin(self.database, bytes(32))
        self.now_us = NOON_US
        made = "SELECT (SELECT count(*) FROM accounts) + (SELECT count(*) FROM keys)"
        self._made = int(self.database.rows(made)[0][0])

    def close(self) -> None:
        """Close the connection."""
        self.database.close()

    def account(self, name: str = "acme") -> str:
        """A new account."""
        return self.admin.create_account(name, "pro", random_8_bytes=self._next(8), now_us=self.now_us)

    def key(self, account: str, caps: Caps = NO_CAPS) -> str:
        """A new key's id."""
        return self.admin.mint_key(account, caps=caps, random_24_bytes=self._next(24), now_us=self.now_us)[
            0
        ].id

    def _next(self, length: int) -> bytes:
        self._made += 1
        return self._made.to_bytes(8) * (length // 8)

    def do(self, op: Op, lease: Lease = LEASE) -> Result:
        """One operation in a transaction of its own."""
        return self.together(op, lease=lease)[0]

    def together(self, *ops: Op, lease: Lease = LEASE) -> list[Result]:
        """Operations in one transaction."""
        with self.database.write():
            return run_batch(self.database, ops, now_us=self.now_us, lease=lease)

    def crash(self, expired_us: int | None = None) -> int:
        """End the open holds as is done for a dead process; returns how many."""
        with self.database.write():
            return len(resolve_crashed(self.database, now_us=self.now_us, lease=LEASE, expired_us=expired_us))

    def wallet(self, account: str, wallet: str = "base") -> Balance:
        """A wallet as stored."""
        select = "SELECT balance, held FROM wallets WHERE account_id = ? AND wallet = ?"
        return Balance(*self.database.rows(select, (account, wallet))[0])

    def house(self) -> dict[str, int]:
        """The house's accounts as sums of their entries."""
        select = "SELECT house, sum(amount) FROM house_entries GROUP BY house ORDER BY 1"
        return {house: int(amount) for house, amount in self.database.rows(select)}

    def failed(self) -> dict[str, tuple[str, ...]]:
        """The invariants that do not hold, with their problems."""
        return {c.name: c.problems for c in verify(self.database, now_us=self.now_us) if not c.ok}

    def unguard(self) -> None:
        """Take away what the database itself forbids, so that records can be damaged."""
        for statement in UNGUARDED[self.place.is_shared]:
            self.database.run(statement)


def quote(
    own_input: int,
    output_limit: int,
    *,
    input_bound: int | None = None,
    expected: int = 0,
    rates: Rates = ONE_NANO_A_TOKEN,
    window: int = ALL_OF_IT,
) -> Quote:
    """A quote whose input bound is the own count unless said otherwise, with the usual floor of 64."""
    bound = own_input if input_bound is None else input_bound
    return Quote(rates, own_input, bound, output_limit, min(output_limit, 64), expected, window)


def open_hold(
    request: str,
    account: str,
    key: str,
    quoted: Quote,
    *,
    wallet: str = "base",
    leg: int = 0,
    paid: PaidRates | None = None,
    idempotency: Idempotency | None = None,
) -> OpenHold:
    """A hold on a chat alias."""
    return OpenHold(request, account, wallet, key, "smart-route", quoted, "rates-1", paid, leg, idempotency)

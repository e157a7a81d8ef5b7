"""A ledger in a real file, moved one transaction at a time, at a time that the test sets."""

from pathlib import Path

from llmdeal_litellm.accounts.admin import Admin
from llmdeal_litellm.ledger.batch import resolve_crashed, run_batch
from llmdeal_litellm.ledger.database import connect, migrate, write
from llmdeal_litellm.ledger.ops import Balance, Op, OpenHold, PaidRates, Result
from llmdeal_litellm.ledger.verify import verify
from llmdeal_litellm.money import PICO_PER_NANO, Rates
from llmdeal_litellm.policy.pricing import Quote

NOON_US = 1_750_000_000_000_000
DAY_US = 86_400_000_000
ONE_NANO_A_TOKEN = Rates.flat(PICO_PER_NANO, PICO_PER_NANO)
"""A rate that lets a reader check amounts by adding up tokens."""


class Bank:
    """A migrated store and the operator's hands on it. `fsync` off makes thousands of steps affordable."""

    def __init__(self, path: Path, *, fsync: bool = False) -> None:
        self.path = path
        self.connection = connect(path)
        if not fsync:
            self.connection.execute("PRAGMA synchronous = OFF")
        migrate(self.connection)
        self.admin = Admin(self.connection, bytes(32))
        self.now_us = NOON_US
        self._made = 0

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def account(self, name: str = "acme") -> str:
        """A new account."""
        return self.admin.create_account(name, "pro", random_8_bytes=self._next(8), now_us=self.now_us)

    def key(self, account: str, cap: int | None = None) -> str:
        """A new key's id."""
        return self.admin.mint_key(account, cap=cap, random_24_bytes=self._next(24), now_us=self.now_us)[0].id

    def _next(self, length: int) -> bytes:
        self._made += 1
        return self._made.to_bytes(8) * (length // 8)

    def do(self, op: Op) -> Result:
        """One operation in a transaction of its own."""
        return self.together(op)[0]

    def together(self, *ops: Op) -> list[Result]:
        """Operations in one transaction."""
        with write(self.connection):
            return run_batch(self.connection, ops, now_us=self.now_us, lease_owner="test")

    def crash(self) -> int:
        """End the open holds as a start after a crash does."""
        with write(self.connection):
            return resolve_crashed(self.connection, now_us=self.now_us, lease_owner="test")

    def wallet(self, account: str, wallet: str = "base") -> Balance:
        """A wallet as stored."""
        select = "SELECT balance, held FROM wallets WHERE account_id = ? AND wallet = ?"
        return Balance(*self.connection.execute(select, (account, wallet)).fetchone())

    def house(self) -> dict[str, int]:
        """The house's accounts as sums of their entries."""
        return dict(
            self.connection.execute("SELECT house, sum(amount) FROM house_entries GROUP BY house ORDER BY 1")
        )

    def failed(self) -> dict[str, tuple[str, ...]]:
        """The invariants that do not hold, with their problems."""
        return {c.name: c.problems for c in verify(self.connection, now_us=self.now_us) if not c.ok}


def quote(
    own_input: int,
    output_limit: int,
    *,
    input_bound: int | None = None,
    expected: int = 0,
    rates: Rates = ONE_NANO_A_TOKEN,
) -> Quote:
    """A quote whose input bound is the own count unless said otherwise, with the usual floor of 64."""
    bound = own_input if input_bound is None else input_bound
    return Quote(rates, own_input, bound, output_limit, min(output_limit, 64), expected)


def open_hold(
    request: str,
    account: str,
    key: str,
    quoted: Quote,
    *,
    wallet: str = "base",
    leg: int = 0,
    paid: PaidRates | None = None,
) -> OpenHold:
    """A hold on a chat alias."""
    return OpenHold(request, account, wallet, key, "smart-route", quoted, "rates-1", paid, leg)

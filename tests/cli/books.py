"""Records straight in the store of an operator's commands, at times that the test sets."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from llmdeal_litellm.ledger.batch import RECORD, run_batch
from llmdeal_litellm.ledger.database import Database
from llmdeal_litellm.ledger.ops import CloseHold, Op, OpenHold, Result
from llmdeal_litellm.ledger.rows import Lease, Record
from llmdeal_litellm.money import PICO_PER_NANO, Rates
from llmdeal_litellm.policy.pricing import Quote
from llmdeal_litellm.policy.usage import Billed, Rule
from llmdeal_litellm.settings import read_settings

from .operator_command import Operator

LEASE = Lease("test", 600_000_000)
ONE_NANO_A_TOKEN = Rates.flat(PICO_PER_NANO, PICO_PER_NANO)


@contextmanager
def store_of(operator: Operator) -> Iterator[Database]:
    """The store that the operator's commands use."""
    with closing(read_settings(operator.environment()).store.open()) as database:
        yield database


def do(database: Database, op: Op, *, now_us: int | None = None) -> Result:
    """One operation, now or at a time."""
    with database.write():
        at_us = database.now_us() if now_us is None else now_us
        return run_batch(database, [op], now_us=at_us, lease=LEASE)[0]


def hold(request: str, account: str, key: str, tokens: int, *, wallet: str = "base") -> OpenHold:
    """A hold on 10 input tokens and this many of output, a nano-USD each."""
    quote = Quote(ONE_NANO_A_TOKEN, 10, 10, tokens, min(64, tokens), 0)
    return OpenHold(request, account, wallet, key, "smart-route", quote, "rates-1")


def post(request: str, tokens: int) -> CloseHold:
    """The end of a hold that is charged for 10 input tokens and this many of output."""
    return CloseHold(request, Rule.COMPLETED, Billed(10, tokens, 3))


def void(request: str) -> CloseHold:
    """The end of a hold that is given back."""
    return CloseHold(request, Rule.FAILED_BEFORE_OUTPUT, None)


def append_credits(database: Database, account: str, count: int) -> None:
    """This many credits of one nano-USD each, in an empty base wallet."""
    rows = [
        Record(account, "base", n, "credit", 1, 0, n, 0, n, note=f"credit number {n}, of many")
        for n in range(1, count + 1)
    ]
    with database.write():
        for start in range(0, count, 10_000):
            database.insert("records", RECORD, rows[start : start + 10_000])
        database.run(
            "UPDATE wallets SET balance = ?, version = ? WHERE account_id = ? AND wallet = 'base'",
            (count, count, account),
        )

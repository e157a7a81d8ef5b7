"""Stores that are full before the gateway starts: accounts with money and a key each, and a history of
requests that they paid for. Filled by plain inserts, so that every invariant holds, and kept as files."""

import random
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from llmdeal_litellm.ledger.database import STEPS, Database
from llmdeal_litellm.ledger.ops import HOUSE_REVENUE, HOUSE_TOPUPS
from llmdeal_litellm.ledger.rows import HouseEntry, Record, WalletRow
from llmdeal_litellm.ledger.sqlite import SqliteDatabase
from llmdeal_litellm.ledger.transfers import rates_text
from llmdeal_litellm.money import Rates, charge
from llmdeal_litellm.policy.keys import key_digest, new_key
from llmdeal_litellm.policy.usage import Rule

PEPPER = bytes(32)
"""The same in every run: the keys of a kept store are made under it."""
SECRETS = {"LLMDEAL_KEY_PEPPER": PEPPER.hex(), "LLMDEAL_ENCRYPTION_KEY": PEPPER.hex()}
FUNDS_NANO = 10**12
"""So that all of a million accounts add up to less than 64 bits."""
MADE_AT_US = 1_750_000_000_000_000
RATES = Rates.flat(200_000, 600_000)
INPUT, OUTPUT, HELD_OUTPUT = 240, 60, 128
"""Tokens of each request of the history: what was billed, and how long the answer might have been."""
CHARGED, HELD = charge(RATES, INPUT, OUTPUT), charge(RATES, INPUT, HELD_OUTPUT)
ALIAS = "gpt-4o-mini"
AT_ONCE = 2000
WHILE_FILLED = ("journal_mode = OFF", "synchronous = OFF", "cache_size = -1000000")
"""Nobody sees the file before it is whole. The gateway opens it with settings of its own."""
RECORD = (
    "account_id wallet version kind balance_change held_change balance_after held_after at_us request_id leg "
    "key_id alias rule input_tokens output_tokens cached_tokens rates rate_version"
).split()
HOUSE = ("account_id", "wallet", "version", "house", "amount")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Account:
    id: str
    name: str
    tier: str
    created_at_us: int


@dataclass(frozen=True, slots=True)
class _Key:
    id: str
    account_id: str
    digest: bytes | str
    created_at_us: int
    spent: int


@dataclass(frozen=True)
class Filling:
    """So many accounts with a key each, and so many records of requests, two of each request."""

    keys: int
    records: int

    @property
    def name(self) -> str:
        """Of the file or database that has it."""
        return f"full_{len(STEPS)}_{self.keys}_{self.records}"

    @property
    def requests_each(self) -> int:
        """How many requests each account has paid for."""
        return self.records // 2 // self.keys

    def key_texts(self) -> list[str]:
        """The keys as customers have them."""
        chance = random.Random(f"keys {self.keys}")
        return [new_key(chance.randbytes(16)) for _ in range(self.keys)]

    def account_ids(self) -> list[str]:
        """The accounts, in the order of their keys."""
        chance = random.Random(f"accounts {self.keys}")
        return [f"acct_{chance.getrandbits(64):016x}" for _ in range(self.keys)]

    def fill(self, database: Database, say: Say) -> None:
        """Write all of it into an empty store."""
        database.migrate()
        accounts, texts = self.account_ids(), self.key_texts()
        for begin in range(0, self.keys, AT_ONCE):
            if begin % 100_000 == 0:
                say(f"filling {self.name}: {begin:,} of {self.keys:,} keys")
            some = accounts[begin : begin + AT_ONCE]
            self._accounts(database, some, texts[begin : begin + AT_ONCE])
        chance, written = random.Random("requests"), 0
        for number in range(self.requests_each):
            for begin in range(0, self.keys, AT_ONCE):
                if written % 500_000 == 0:
                    say(f"filling {self.name}: {written:,} of {self.records:,} records")
                some = accounts[begin : begin + AT_ONCE]
                _requests(database, some, number, chance)
                written += 2 * len(some)
        database.run("ANALYZE")

    def _accounts(self, database: Database, accounts: list[str], texts: list[str]) -> None:
        spent = self.requests_each * CHARGED
        digests = [key_digest(PEPPER, text.encode()) for text in texts]
        keys = [
            # JSON has no bytes: on its way to PostgreSQL the digest is text.
            _Key(f"key_{a[5:]}", a, f"\\x{d.hex()}" if database.is_shared else d, MADE_AT_US, spent)
            for a, d in zip(accounts, digests, strict=True)
        ]
        version = 1 + 2 * self.requests_each
        wallets = [WalletRow(account, "base", FUNDS_NANO - spent, 0, version) for account in accounts]
        wallets += [WalletRow(account, "frontier", 0, 0, 0) for account in accounts]
        credits = [
            Record(account, "base", 1, "credit", FUNDS_NANO, 0, FUNDS_NANO, 0, MADE_AT_US)
            for account in accounts
        ]
        with database.write():
            rows = [_Account(account, account, "pro", MADE_AT_US) for account in accounts]
            database.insert("accounts", ("id", "name", "tier", "created_at_us"), rows)
            database.insert("wallets", ("account_id", "wallet", "balance", "held", "version"), wallets)
            database.insert("keys", ("id", "account_id", "digest", "created_at_us", "spent"), keys)
            database.insert("records", RECORD, credits)
            sides = [HouseEntry(account, "base", 1, HOUSE_TOPUPS, -FUNDS_NANO) for account in accounts]
            database.insert("house_entries", HOUSE, sides)


def _requests(database: Database, accounts: list[str], number: int, chance: random.Random) -> None:
    """The request of this number of each account: its hold and its charge."""
    rates, before = rates_text(RATES), FUNDS_NANO - number * CHARGED
    version, at_us = 2 + 2 * number, MADE_AT_US + (1 + number) * 1000
    records, sides = [], []
    for account in accounts:
        of = (f"{chance.getrandbits(96):024x}", 0, f"key_{account[5:]}", ALIAS)
        hold = (account, "base", version, "hold", 0, HELD, before, HELD, at_us)
        records.append(Record(*hold, *of, None, INPUT, HELD_OUTPUT, rates=rates, rate_version="0"))
        post = (account, "base", version + 1, "post", -CHARGED, -HELD, before - CHARGED, 0, at_us)
        records.append(Record(*post, *of, Rule.COMPLETED.value, INPUT, OUTPUT, 0))
        sides.append(HouseEntry(account, "base", version + 1, HOUSE_REVENUE, CHARGED))
    with database.write():
        database.insert("records", RECORD, records)
        database.insert("house_entries", HOUSE, sides)


def sqlite_file(filling: Filling, kept: Path, say: Say) -> Path:
    """The kept file with this filling, made when it is not there."""
    path = kept / f"{filling.name}.db"
    if not path.exists():
        kept.mkdir(parents=True, exist_ok=True)
        made = path.with_suffix(".new")
        made.unlink(missing_ok=True)
        with closing(SqliteDatabase(made)) as database:
            for setting in WHILE_FILLED:
                database.run(f"PRAGMA {setting}")
            filling.fill(database, say)
        made.rename(path)
    return path

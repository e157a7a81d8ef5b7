"""A gateway whose store has a time of its own, which a test sets: days and months pass at once, and what is
kept for a day expires. And what a test wants to know of an account: its wallet, its holds, its records."""

import json
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from concealment import watch
from limit_gateway import PATIENCE_S, Clock, LimitGateway, Setup, bearer
from processes import until

from llmdeal_litellm.accounts.admin import Admin, Caps
from llmdeal_litellm.accounts.answers import KeptAnswers
from llmdeal_litellm.accounts.sealing import Cipher
from llmdeal_litellm.catalog.model import Wallet
from llmdeal_litellm.ledger.database import Database
from llmdeal_litellm.ledger.ops import Balance
from llmdeal_litellm.ledger.rows import US_PER_S
from llmdeal_litellm.ledger.sqlite import SqliteDatabase
from llmdeal_litellm.ledger.stores import SqliteStore

Row = dict[str, Any]

BEGIN = "2031-01-15T12:00:00+00:00"
"""When time begins: in the middle of a day and of a month."""
INPUT_NANO, OUTPUT_NANO = 200, 600
"""Per token, of every alias of these gateways."""


class Calendar:
    """The time of the store. It stands until a test moves it."""

    def __init__(self) -> None:
        self.us = 0
        self.turn_to(BEGIN)

    def turn_to(self, moment: str) -> None:
        """A moment as ISO 8601 writes it."""
        self.us = round(datetime.fromisoformat(moment).timestamp()) * US_PER_S

    def pass_s(self, seconds: float) -> None:
        """Time passes."""
        self.us += round(seconds * US_PER_S)

    def s(self) -> float:
        """Seconds of Unix time."""
        return self.us / US_PER_S


class DatedDatabase(SqliteDatabase):
    """A store that reads the calendar."""

    def __init__(self, path: Path, calendar: Calendar) -> None:
        super().__init__(path)
        self._calendar = calendar

    def now_us(self) -> int:
        """See `Database.now_us`."""
        return self._calendar.us


@dataclass(frozen=True, slots=True)
class DatedStore(SqliteStore):
    """A file whose ledger reads the calendar."""

    calendar: Calendar

    def open_ledger(self, *, alone: bool) -> Database:
        """See `SqliteStore.open_ledger`."""
        return DatedDatabase(self.path, self.calendar)


@dataclass(frozen=True)
class Holder:
    """An account and a key of it."""

    account_id: str
    key_id: str
    key: str


class DatedGateway(LimitGateway):
    """A `LimitGateway` with a calendar. Use `dated`."""

    def __init__(self, folder: Path, setup: Setup, calendar: Calendar) -> None:
        super().__init__(folder, json.loads(json.dumps(setup.config)))
        self.calendar = calendar
        self._settings = replace(self._settings, store=DatedStore(self.database, self.calendar))

    def begin(self) -> None:
        """Full buckets, closed breakers, clocks as they are."""
        self.follow(Clock())
        services = self._gateway.services
        services.now_s, services.monotonic_s = self.calendar.s, time.monotonic

    def wait_by_the_clock(self) -> None:
        """From now on requests wait for the store by the clock that a test moves."""
        self._gateway.services.monotonic_s = self.clock.s

    @property
    def healthy(self) -> bool:
        """Whether the store can be written, as far as the gateway knows."""
        return self._gateway.services.ledger.healthy

    @contextmanager
    def operator(self) -> Iterator[Admin]:
        """What an operator may do to accounts and keys."""
        with closing(self._settings.store.open()) as database:
            yield Admin(database, self._settings.key_pepper)

    def holder(self, nano: int = 10**10, *, tier: str = "pro", caps: Caps | None = None) -> Holder:
        """A new account with so much money, and a key."""
        with self.operator() as admin:
            now_us, random = self.calendar.us, secrets.token_bytes(8)
            account = admin.create_account("dated", tier, random_8_bytes=random, now_us=now_us)
            if nano:
                admin.credit(account, Wallet.BASE, nano, note="", now_us=now_us)
        return self.another_key(account, caps=caps)

    def another_key(self, account_id: str, *, caps: Caps | None = None) -> Holder:
        """One more key of an account."""
        with self.operator() as admin:
            made, text = admin.mint_key(
                account_id,
                caps=caps or Caps(),
                random_24_bytes=secrets.token_bytes(24),
                now_us=self.calendar.us,
            )
        return Holder(account_id, made.id, text)

    def ask(self, holder: Holder, body: Row, name: str | None = None) -> httpx.Response:
        """POST a chat completion; `name` is its Idempotency-Key."""
        headers = bearer(holder.key) | ({} if name is None else {"Idempotency-Key": name})
        return self.client.post("/v1/chat/completions", json=body, headers=headers)

    def wallet(self, holder: Holder) -> Balance:
        """The balance as committed now."""
        with self.operator() as admin:
            return admin.account(holder.account_id).base

    def settled(self, holder: Holder) -> Balance:
        """The balance once no hold of the account is open."""
        return until(lambda: self.wallet(holder) if not self.holds(holder) else None, what="holds to end")

    def holds(self, holder: Holder) -> list[Row]:
        """The account's open holds, oldest first."""
        return self.rows("open_holds", holder, "opened_at_us, rowid")

    def records(self, holder: Holder) -> list[Row]:
        """The account's records, oldest first."""
        return self.rows("records", holder, "version")

    def kept(self, holder: Holder) -> list[Row]:
        """What is known of its requests that named a key."""
        return self.rows("idempotency", holder, "expires_at_us")

    def rows(self, table: str, holder: Holder, order: str) -> list[Row]:
        """Rows of a table that belong to an account."""
        with closing(sqlite3.connect(self.database)) as connection:
            connection.row_factory = sqlite3.Row
            select = f"SELECT * FROM {table} WHERE account_id = ? ORDER BY {order}"
            return [dict(row) for row in connection.execute(select, (holder.account_id,))]

    def ends_of(self, holder: Holder) -> list[Row]:
        """How the account's holds ended, oldest first, once none is open. Each charge is what its tokens
        cost."""
        self.settled(holder)
        found = [record for record in self.records(holder) if record["kind"] in ("post", "void")]
        for end in found:
            cost = INPUT_NANO * (end["input_tokens"] or 0) + OUTPUT_NANO * (end["output_tokens"] or 0)
            assert -end["balance_change"] == cost, end
        return found

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """Every statement that ledger and readers of this gateway run meanwhile."""
        seen: list[str] = []
        databases = (self._gateway._database, self._gateway._reader._database)
        for database in databases:
            database.raw.set_trace_callback(seen.append)
        try:
            yield seen
        finally:
            for database in databases:
                database.raw.set_trace_callback(None)

    @contextmanager
    def other_encryption_key(self) -> Iterator[None]:
        """As between two restarts, the first of them under another LLMDEAL_ENCRYPTION_KEY."""
        services = self._gateway.services
        before = services.answers
        services.answers = KeptAnswers(self._gateway._reader, Cipher(secrets.token_bytes(32)))
        try:
            yield
        finally:
            services.answers = before

    def copy_kept(self, source: Holder, target: Holder) -> None:
        """Overwrite the kept answer of one account with that of another, in the store itself."""
        with closing(sqlite3.connect(self.database, timeout=PATIENCE_S)) as connection, connection:
            copy = (
                "UPDATE idempotency SET answer = (SELECT answer FROM idempotency WHERE account_id = ?) "
                "WHERE account_id = ?"
            )
            assert connection.execute(copy, (source.account_id, target.account_id)).rowcount == 1


@contextmanager
def dated(folder: Path, setup: Setup, *, since: int | None = None) -> Iterator[DatedGateway]:
    """A running one, whose time begins at `since`; afterwards its books are right."""
    calendar = Calendar()
    if since is not None:
        calendar.us = since
    gateway = DatedGateway(folder, setup, calendar)
    limits = httpx.Limits(max_connections=100)
    with (
        gateway.running(),
        httpx.Client(
            base_url=gateway.url, timeout=PATIENCE_S, limits=limits, event_hooks={"response": [watch]}
        ) as client,
    ):
        gateway.client = client
        gateway.begin()
        yield gateway
        assert gateway.broken_invariants() == []

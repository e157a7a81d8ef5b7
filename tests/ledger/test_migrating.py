"""Bringing a store's tables up to date: once, in order, whoever asks, and without losing what is there."""

import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib import resources
from pathlib import Path

import pytest
from processes import until

from llmdeal_litellm.ledger.database import STEPS, Database, SchemaTooNew, SchemaTooOld, statements
from llmdeal_litellm.ledger.ops import CloseHold, Credit
from llmdeal_litellm.ledger.postgres import MIGRATE_LOCK_MS, MIGRATE_WAIT_S
from llmdeal_litellm.ledger.sqlite import SqliteDatabase
from llmdeal_litellm.ledger.stores import SqliteStore
from llmdeal_litellm.policy.usage import Billed, Rule

from .bank import Bank, open_hold, quote
from .places import Place, empty

MIGRATES = """
import sys
from pathlib import Path
from llmdeal_litellm.settings import _store

database = _store(sys.argv[1], Path("/")).open()
print("ready", flush=True)
sys.stdin.readline()
print(database.migrate())
"""
TOO_NEW = {
    False: f"PRAGMA user_version = {len(STEPS) + 1}",
    True: "UPDATE schema_version SET steps = steps + 1",
}
TOO_OLD = {
    False: f"PRAGMA user_version = {len(STEPS) - 1}",
    True: "UPDATE schema_version SET steps = steps - 1",
}
"""By whether the store is a server."""

FIRST_STEP = (f"{STEPS[0]}.sql", f"{STEPS[0]}.sqlite.sql")


def test_migrating_twice_changes_nothing(store: Place) -> None:
    """A start on an up-to-date store applies no step."""
    before = store.dump()
    database = store.open()

    assert database.migrate() == 0
    assert database.schema_version() == len(STEPS)
    database.check_schema()
    assert before == store.dump()


def test_a_newer_schema_is_refused(store: Place) -> None:
    """A store that a later version wrote is left alone."""
    database = store.open()
    database.run(TOO_NEW[store.is_shared])

    with pytest.raises(SchemaTooNew):
        database.migrate()
    with pytest.raises(SchemaTooNew):
        database.check_schema()


def test_an_older_schema_is_named_as_such(store: Place) -> None:
    """Who does not migrate by itself says which command does."""
    database = store.open()
    database.run(TOO_OLD[store.is_shared])

    with pytest.raises(SchemaTooOld, match="llmdeal migrate"):
        database.check_schema()


def test_a_store_that_was_never_used(postgres_store: Place) -> None:
    """An empty database of a server, in which other programs may have tables, is no error: it is old."""
    empty(postgres_store)
    database = postgres_store.open()
    database.run("CREATE TABLE public.wallets (whatever TEXT)")

    assert database.schema_version() == 0
    with pytest.raises(SchemaTooOld):
        database.check_schema()
    assert database.migrate() == len(STEPS)
    assert database.rows("SELECT count(*) FROM public.wallets") == [(0,)]
    database.run("DROP TABLE public.wallets")


def _emptied(store: Place) -> str:
    """The address of the store as it was before its first use."""
    if store.is_shared:
        empty(store)
        return store.address
    return f"sqlite:///{store.folder}/other.db"


def test_four_processes_at_once(store: Place) -> None:
    """Each step is applied once, by one of them, and none of them fails."""
    address = _emptied(store)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MIGRATES, address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=dict(os.environ),
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60) for process in processes]

    assert [(process.returncode, err) for process, (_, err) in zip(processes, said, strict=True)] == [
        (0, "")
    ] * 4
    assert sum(int(out) for out, _ in said) == len(STEPS)


def test_a_step_that_fails_leaves_nothing(store: Place) -> None:
    """Each step is one transaction: a table of that name that is in the way undoes all of it."""
    database, in_the_way = _older(store)
    before = database.schema_version()
    database.run(in_the_way)

    with pytest.raises(Exception, match="idempotency"):
        database.migrate()
    assert database.schema_version() == before == 1
    database.run("DROP TABLE idempotency")
    assert database.migrate() == len(STEPS) - 1


def test_migrating_beside_a_long_read_kept_every_gateway_waiting(postgres_store: Place) -> None:
    """A change of a table waits for who reads it, and all others would wait behind the change. It gives up
    its place again and again, and is made when the read has ended."""
    reader, asking, watching = postgres_store.open(), postgres_store.open(), postgres_store.open()
    reader.run("ALTER TABLE partners DROP COLUMN struck_for, DROP COLUMN struck_at_us")
    reader.run("UPDATE schema_version SET steps = steps - 1")
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'partners'::regclass"
    asking.run(f"SET statement_timeout = {20 * MIGRATE_LOCK_MS}")
    with ThreadPoolExecutor(1) as thread:
        with reader.snapshot():
            reader.rows("SELECT count(*) FROM partners")
            migrated = thread.submit(postgres_store.open().migrate)
            for _ in range(2):
                until(lambda: watching.rows(waits) == [(1,)], what="the change to wait")
                assert asking.rows("SELECT count(*) FROM partners") == [(0,)]
        assert migrated.result(MIGRATE_WAIT_S) == 1


def _older(store: Place) -> tuple[Database, str]:
    """A store after the first step alone, and a statement that the second trips over."""
    if not store.is_shared:
        database: Database = _first_version(store.folder / "old.db")
        store.closed_at_the_end(database)
        return database, "CREATE TABLE idempotency (x TEXT)"
    database = store.open()
    for column in ("cap_day", "cap_month", "day", "day_spent", "month", "month_spent"):
        database.run(f"ALTER TABLE keys DROP COLUMN {column} CASCADE")
    for table in ("open_holds", "records"):
        for column in ("payee", "payee_share"):
            database.run(f"ALTER TABLE {table} DROP COLUMN {column} CASCADE")
    database.run("DROP INDEX records_refund")
    database.run("DROP TABLE partners")
    database.run("DROP FUNCTION refuse_new_terms() CASCADE")
    database.run("DROP FUNCTION refuse_beyond_cap() CASCADE")
    database.run("DROP TABLE idempotency")
    database.run("DROP TABLE byo_keys")
    database.run("DROP FUNCTION refuse_move()")
    database.run("CREATE INDEX records_key ON records (key_id, at_us)")
    database.run("UPDATE schema_version SET steps = 1")
    return database, "CREATE TABLE idempotency (x TEXT)"


def _first_version(path: Path) -> SqliteDatabase:
    """A SQLite file as the first version of the package made it."""
    folder = resources.files("llmdeal_litellm.ledger").joinpath("migrations")
    with closing(sqlite3.connect(path)) as connection:
        for name in FIRST_STEP:
            for statement in statements(folder.joinpath(name).read_text()):
                connection.execute(statement)
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    return SqliteDatabase(path)


def test_a_first_file_keeps_its_rows(tmp_path: Path) -> None:
    """What accounts had and spent before the step is there after it, an open hold can be ended, and every
    check passes."""
    path = tmp_path / "old.db"
    with closing(_first_version(path)) as old:
        old.run("INSERT INTO accounts (id, name, tier, created_at_us) VALUES ('acct_1', 'acme', 'pro', 1)")
        old.run("INSERT INTO wallets VALUES ('acct_1', 'base', 700, 200, 4)")
        old.run("INSERT INTO wallets VALUES ('acct_1', 'frontier', 0, 0, 0)")
        old.run(
            "INSERT INTO keys (id, account_id, digest, created_at_us, cap, spent, held, open_holds) "
            "VALUES ('key_1', 'acct_1', x'00', 1, 5000, 300, 200, 1)"
        )
        for version, kind, balance, held, after, request, tokens, rates in (
            (1, "credit", 1000, 0, (1000, 0), None, (None, None), None),
            (2, "hold", 0, 300, (1000, 300), "r1", (100, 200), "[1000,1000,1000]"),
            (3, "post", -300, -300, (700, 0), "r1", (100, 200), None),
            (4, "hold", 0, 200, (700, 200), "r2", (100, 100), "[1000,1000,1000]"),
        ):
            old.run(
                "INSERT INTO records (account_id, wallet, version, kind, balance_change, held_change, "
                "balance_after, held_after, at_us, request_id, leg, key_id, input_tokens, output_tokens, "
                "rates) VALUES ('acct_1', 'base', ?, ?, ?, ?, ?, ?, 1, ?, 0, 'key_1', ?, ?, ?)",
                (version, kind, balance, held, *after, request, *tokens, rates),
            )
        old.run("INSERT INTO house_entries VALUES ('acct_1', 'base', 1, 'topups', -1000)")
        old.run("INSERT INTO house_entries VALUES ('acct_1', 'base', 3, 'revenue', 300)")
        old.run(
            "INSERT INTO open_holds (request_id, leg, account_id, wallet, key_id, alias, amount, input_part, "
            "own_input, output_limit, rates, rate_version, opened_at_us, lease_owner, lease_until_us) "
            "VALUES ('r2', 0, 'acct_1', 'base', 'key_1', 'x', 200, 100, 100, 100, '[1000,1000,1000]', 'v', "
            "1, 'x', 2)"
        )
        assert old.migrate() == len(STEPS) - 1

    bank = Bank(Place(SqliteStore(path), tmp_path))
    account, key = bank.admin.account("acct_1"), bank.admin.key("key_1")
    assert (account.name, account.base.balance, account.base.held) == ("acme", 700, 200)
    assert (key.caps.total, key.caps.day, key.caps.month) == (5000, None, None)
    assert (key.spent, key.held, key.day_spent, key.month_spent) == (300, 200, 0, 0)
    assert [name for name in bank.failed() if name != "leases"] == []
    bank.do(CloseHold("r2", Rule.COMPLETED, Billed(100, 50)))
    bank.do(Credit("acct_1", "base", 1000))
    bank.do(open_hold("r3", "acct_1", "key_1", quote(100, 100)))
    assert bank.failed() == {}
    assert bank.admin.key("key_1").day_spent == 150

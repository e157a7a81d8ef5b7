"""What only SQLite has: a file that somebody else may have locked, a log beside it, one writer."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from llmdeal_litellm.ledger.database import StatementRefused, StoreBusy, StoreFailed
from llmdeal_litellm.ledger.ops import Credit
from llmdeal_litellm.ledger.sqlite import SqliteDatabase
from llmdeal_litellm.ledger.stores import SqliteStore
from llmdeal_litellm.ledger.verify import verify

from .bank import Bank
from .places import Place
from .running import HOLD, Shop, ledger_of, paid, running, until
from .test_verify import lived


async def test_start_needs_a_folder(sqlite_store: Place, tmp_path: Path) -> None:
    """A path that cannot be opened stops the start."""
    shop = Shop(sqlite_store, funds=HOLD)
    nowhere = SqliteDatabase(tmp_path / "nowhere" / "x.db")
    with pytest.raises(StoreFailed):
        nowhere.migrate()
    with pytest.raises(StoreFailed):
        ledger_of(shop, database=nowhere).start(asyncio.get_running_loop())


async def test_a_failed_start_lets_go_of_the_file(sqlite_store: Place) -> None:
    """A ledger that is stopped without having been started has closed what it was given."""
    database = sqlite_store.open_ledger()
    ledger = ledger_of(Shop(sqlite_store, funds=HOLD), database=database)
    assert database.rows("SELECT 1") == [(1,)]
    assert await ledger.stop() == 0
    with pytest.raises(StatementRefused):
        database.rows("SELECT 1")


def test_a_writer_waits_for_its_turn_and_no_longer(sqlite_store: Place) -> None:
    """A lock that stays taken is an error of its own, and one that is given back is not."""
    first, second = sqlite_store.open(), sqlite_store.open()
    with first.write(), pytest.raises(StoreBusy), second.write(wait_s=0.02):
        pass
    with second.write(wait_s=0.02):
        second.run("INSERT INTO settings VALUES ('a', 'b')")
    assert first.rows("SELECT * FROM settings WHERE name = 'a'") == [("a", "b")]


def test_a_committed_write_survives_a_crash_of_the_machine(sqlite_store: Place) -> None:
    """Each commit waits for the disk."""
    for database in (sqlite_store.open(), sqlite_store.open_ledger()):
        assert database.rows("PRAGMA synchronous") == [(2,)]
        assert database.rows("PRAGMA journal_mode") == [("wal",)]
        assert database.rows("PRAGMA foreign_keys") == [(1,)]


def test_verifying_leaves_room_for_checkpoints(sqlite_store: Place) -> None:
    """Between two accounts nothing is read, so that the log beside the file can be emptied."""
    bank = lived(sqlite_store)
    other = sqlite3.connect(sqlite_store.path, isolation_level=None)
    busy: list[int] = []

    def between(done: int, accounts: int) -> None:
        busy.append(other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])

    assert all(c.ok for c in verify(bank.database, now_us=bank.now_us, progress=between))
    assert busy == [0, 0]
    other.close()


def test_a_connection_that_cannot_write_is_enough_to_verify(sqlite_store: Place) -> None:
    """An operator's copy on a read-only disk can be checked."""
    bank = lived(sqlite_store)
    reader = sqlite_store.closed_at_the_end(SqliteDatabase(sqlite_store.path, read_only=True))

    assert all(c.ok for c in verify(reader, now_us=bank.now_us))
    with pytest.raises(StoreFailed):
        reader.run("DELETE FROM settings")


def test_more_rows_than_a_statement_has_places_for(sqlite_store: Place) -> None:
    """As many values as there are, each row once."""
    database = sqlite_store.open()
    with database.write():
        for n in range(2500):
            database.run("INSERT INTO settings VALUES (?, 'x')", (f"n{n}",))
    found = database.rows_in("SELECT name FROM settings WHERE name", [f"n{n}" for n in range(3000)])

    assert sorted(found) == sorted((f"n{n}",) for n in range(2500))


async def test_our_own_writes_are_not_foreign(sqlite_store: Place) -> None:
    """What the ledger itself commits does not make it forget what it knows of accounts."""
    shop = Shop(sqlite_store, funds=HOLD)
    noticed: list[int] = []
    async with running(shop, on_foreign_write=lambda: noticed.append(1)) as ledger:
        for n in range(20):
            await ledger.open_hold(shop.request(f"r{n}"))
            await ledger.close_hold(paid(f"r{n}", 0, 0))

        assert noticed == []


async def test_an_idle_ledger_notices_too(sqlite_store: Place) -> None:
    """A revocation is seen although no request comes in."""
    shop = Shop(sqlite_store, funds=HOLD)
    noticed: list[int] = []
    async with running(shop, on_foreign_write=lambda: noticed.append(1)):
        with shop.bank() as operator:
            operator.admin.revoke_key(shop.keys[0], now_us=1)
        await until(lambda: noticed)


def test_a_copy_of_the_file_is_a_store(sqlite_store: Place, tmp_path: Path) -> None:
    """A backup made while it is in use is complete and right."""
    bank = Bank(sqlite_store)
    account = bank.account()
    bank.do(Credit(account, "base", 1000))
    with sqlite3.connect(tmp_path / "copy.db") as copy:
        bank.database.raw.backup(copy)  # type: ignore[attr-defined]
    copy.close()
    kept = Bank(Place(SqliteStore(tmp_path / "copy.db"), tmp_path))

    assert kept.wallet(account).balance == 1000
    assert kept.failed() == {}

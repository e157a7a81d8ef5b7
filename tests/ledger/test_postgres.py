"""What only a server has: connections that are lost at any moment, and commits whose outcome is unknown."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_proxy import FaultProxy
from postgres_server import PostgresServer
from processes import until as until_true

from llmdeal_litellm.ledger.database import CommitUnknown, Database, StatementRefused, StoreFailed
from llmdeal_litellm.ledger.ops import (
    Balance,
    Closed,
    Held,
    MarkDelivered,
    Reason,
    Refused,
)
from llmdeal_litellm.ledger.postgres_connection import ANSWER_S
from llmdeal_litellm.ledger.rows import US_PER_S, Lease
from llmdeal_litellm.ledger.store import LedgerDown
from llmdeal_litellm.ledger.stores import PostgresStore
from llmdeal_litellm.ledger.writer import HOLD_WAIT_S
from llmdeal_litellm.policy.usage import Rule

from .bank import Bank
from .failing_store import CutNetwork
from .places import Place
from .running import HOLD, Shop, given_back, paid, running, until

pytestmark = pytest.mark.asyncio

OTHER = Lease("other", 60 * US_PER_S)


@pytest.fixture
def network(postgres_store: Place) -> Iterator[CutNetwork]:
    """A server behind a network that can lose things."""
    with FaultProxy(postgres_store.address, rng=random.Random(7)) as proxy:
        yield CutNetwork(postgres_store, proxy)


def session_of(database: Database) -> int:
    """The server's process for a connection."""
    return int(database.rows("SELECT pg_backend_pid()")[0][0])


def end(place: Place, session: int) -> None:
    """As an operator ends a session, and as a server that is shut down ends all of them."""
    place.open().rows("SELECT pg_terminate_backend(?)", (session,))
    wait_for_the_end(place, session)


def wait_for_the_end(place: Place, session: int) -> None:
    """Until the server has no such session any more."""
    operator, select = place.open(), "SELECT count(*) FROM pg_stat_activity WHERE pid = ?"
    until_true(lambda: operator.rows(select, (session,)) == [(0,)], what="the end of the session")


def write_around(database: Database, between: Callable[[], None]) -> None:
    """A transaction of two rows, and something that happens between them."""
    with database.write():
        database.run("INSERT INTO settings VALUES ('a', 'b')")
        between()
        database.run("INSERT INTO settings VALUES ('c', 'd')")


def session_of_ledger(shop: Shop) -> int:
    """The server's process for the ledger's connection: the one that was last in a transaction that wrote."""
    select = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query = 'COMMIT' "
        "ORDER BY state_change DESC LIMIT 1"
    )
    # The server shows what a session does a moment after its client knows that it was done.
    return int(until_true(lambda: shop.rows(select), what="the ledger's session")[0][0])


class TestConnection:
    """One connection: what is lost, what is found again, and what a failure is called."""

    async def test_a_lost_connection_is_dialled_again(self, postgres_store: Place) -> None:
        """The use after the one that failed works, on a session of its own."""
        database = postgres_store.open_ledger()
        first = session_of(database)
        end(postgres_store, first)
        with pytest.raises(StoreFailed):
            database.rows("SELECT 1")

        assert session_of(database) != first

    async def test_a_session_that_ends_within_a_transaction(self, postgres_store: Place) -> None:
        """It is the store that failed, nothing is written, and the next transaction works."""
        database = postgres_store.open_ledger()
        with pytest.raises(StoreFailed) as failed:
            write_around(database, lambda: end(postgres_store, session_of(database)))

        assert not isinstance(failed.value, CommitUnknown)
        with database.write():
            database.run("INSERT INTO settings VALUES ('e', 'f')")
        names = postgres_store.open().rows("SELECT name FROM settings WHERE length(name) = 1")
        assert names == [("e",)]

    async def test_a_transaction_that_stood_still_is_the_stores_failure(self, postgres_store: Place) -> None:
        """A process that was stopped finds its session ended when it goes on: that is no defect of what it
        was writing, which is tried again."""
        database = postgres_store.open_ledger()
        session = session_of(database)

        def stand_still() -> None:
            database.run("SET LOCAL idle_in_transaction_session_timeout = 20")
            wait_for_the_end(postgres_store, session)

        with pytest.raises(StoreFailed):
            write_around(database, stand_still)
        write_around(database, lambda: None)
        assert postgres_store.open().rows("SELECT count(*) FROM settings WHERE length(name) = 1") == [(2,)]

    @pytest.mark.parametrize(
        ("breaking", "mending"),
        [
            ("ALTER TABLE settings RENAME TO away", "ALTER TABLE away RENAME TO settings"),
            ("ALTER SCHEMA llmdeal RENAME TO away", "ALTER SCHEMA away RENAME TO llmdeal"),
        ],
        ids=("a table", "all of them"),
    )
    async def test_tables_that_are_not_there_are_the_stores_failure(
        self, postgres_store: Place, breaking: str, mending: str
    ) -> None:
        """A statement about them is not at fault, and works once they are back."""
        database, operator = postgres_store.open_ledger(), postgres_store.open()
        operator.run(breaking)
        with pytest.raises(StoreFailed):
            write_around(database, lambda: None)
        operator.run(mending)
        write_around(database, lambda: None)

    async def test_a_lost_answer_to_a_commit(self, network: CutNetwork) -> None:
        """Nobody can know whether it is written: that has a name of its own."""
        database = network.open_ledger()
        database.rows("SELECT 1")
        network.proxy.lose_commits = 1.0
        with pytest.raises(CommitUnknown), database.write():
            database.run("INSERT INTO settings VALUES ('a', 'b')")
        network.proxy.lose_commits = 0.0

        assert database.rows("SELECT value FROM settings WHERE name = 'a'") == [("b",)]

    async def test_rows_that_stay_locked_are_not_waited_for_for_ever(self, postgres_store: Place) -> None:
        """A statement has a second. The connection is given up with it: half an answer may be on its way."""
        bank = Bank(postgres_store)
        bank.account()
        database = postgres_store.open_ledger()
        with bank.database.write():
            bank.database.run("UPDATE wallets SET balance = 5")
            begun = time.monotonic()
            with pytest.raises(StoreFailed), database.write():
                database.run("UPDATE wallets SET balance = 6")
            assert ANSWER_S <= time.monotonic() - begun < 3 * ANSWER_S
        assert bank.database.rows("SELECT DISTINCT balance FROM wallets") == [(5,)]
        with database.write():
            database.run("UPDATE wallets SET balance = 7")

    async def test_what_the_database_forbids_is_no_failure_of_the_store(self, postgres_store: Place) -> None:
        """The connection stays, and so does what was before in other transactions."""
        database = postgres_store.open_ledger()
        session = session_of(database)
        with pytest.raises(StatementRefused), database.write():
            database.run("UPDATE wallets SET balance = 'many'")
        assert session_of(database) == session

    async def test_only_what_may_share_the_store_does(self, postgres_store: Place) -> None:
        """A gateway that shares nothing else must be alone; operators' commands are always let in."""
        store = postgres_store.store
        assert isinstance(store, PostgresStore)
        alone, shared = (
            postgres_store.closed_at_the_end(store.open_ledger(alone=alone)) for alone in (True, False)
        )
        alone.rows("SELECT 1")
        for second in (shared, store.open_ledger(alone=True)):
            with pytest.raises(StoreFailed, match="LLMDEAL_REDIS_URL"):
                second.rows("SELECT 1")
        assert postgres_store.open().rows("SELECT 1") == [(1,)]
        alone.close()
        another = postgres_store.closed_at_the_end(store.open_ledger(alone=False))
        assert shared.rows("SELECT 1") == another.rows("SELECT 1") == [(1,)]
        with pytest.raises(StoreFailed):
            alone.rows("SELECT 1")


class TestLedger:
    """A running ledger on a network and a server that fail."""

    async def test_a_lost_connection_is_not_noticed_by_callers(self, postgres_store: Place) -> None:
        """Idle or in use: a hold is asked for once more on a new connection, and settlements anyway."""
        shop = Shop(postgres_store, funds=20 * HOLD)
        database = postgres_store.open_ledger()
        async with running(shop, database=database) as ledger:
            for n in range(5):
                assert isinstance(await ledger.open_hold(shop.request(f"r{n}")), Held)
                end(postgres_store, session_of_ledger(shop))
                assert await ledger.close_hold(paid(f"r{n}")) == Closed(HOLD, Rule.COMPLETED)
                end(postgres_store, session_of_ledger(shop))
            assert ledger.healthy
        assert shop.balance() == Balance(15 * HOLD, 0)
        assert shop.failed() == {}

    async def test_a_refusal_waits_for_no_commit(self, network: CutNetwork) -> None:
        """Nothing is written for it, and so nobody waits for the disk."""
        shop = Shop(network.place, funds=HOLD - 1)
        async with running(shop, database=network.open_ledger()) as ledger:
            await ledger.open_hold(shop.request("warm"))
            network.proxy.commit_delay_s = 60.0
            refused = await ledger.open_hold(shop.request("r0"))
            network.proxy.commit_delay_s = 0.0
        assert isinstance(refused, Refused)
        assert refused.reason is Reason.FUNDS

    async def test_a_hold_whose_commit_was_lost_is_there_once(self, network: CutNetwork) -> None:
        """The answer to the commit is lost, the hold is written: the second try finds it."""
        shop = Shop(network.place, funds=20 * HOLD)
        async with running(shop, database=network.open_ledger()) as ledger:
            for n in range(5):
                await ledger.open_hold(shop.request(f"warm{n}"))
                await ledger.close_hold(given_back(f"warm{n}"))
                lost = network.proxy.lost
                network.proxy.lose_commits = 1.0
                asked = asyncio.ensure_future(ledger.open_hold(shop.request(f"r{n}")))
                await until(lambda before=lost: network.proxy.lost > before)
                network.proxy.lose_commits = 0.0
                assert isinstance(await asked, Held)
                assert shop.balance().held == HOLD
                assert await ledger.close_hold(paid(f"r{n}")) == Closed(HOLD, Rule.COMPLETED)
        assert shop.balance() == Balance(15 * HOLD, 0)
        assert shop.failed() == {}

    async def test_every_third_commit_is_lost(self, network: CutNetwork) -> None:
        """Whatever is lost, each request is charged once when its hold was granted, and nothing when not."""
        shop = Shop(network.place, funds=1000 * HOLD, keys=8)
        served: set[str] = set()

        async def request(name: str, key: int) -> None:
            try:
                held = await ledger.open_hold(shop.request(name, key))
            except LedgerDown:
                return
            assert isinstance(held, Held)
            served.add(name)
            ledger.mark_delivered(MarkDelivered(name, 1))
            await asyncio.wait_for(ledger.close_hold(paid(name)), 30)

        async with running(shop, database=network.open_ledger()) as ledger:
            network.proxy.lose_commits = 0.33
            for turn in range(12):
                await asyncio.gather(*(request(f"r{turn}-{n}", n) for n in range(8)))
                await until(lambda: ledger.healthy)
            network.proxy.lose_commits = 0.0
            await until(lambda: ledger.healthy and shop.open_requests() == {})
        assert network.proxy.lost > 5
        ends = shop.ends()
        assert {name for name, (rule, _) in ends.items() if rule == "completed"} == served
        assert {how for name, how in ends.items() if name not in served} <= {
            ("caller_left_before_dispatch", 0)
        }
        assert shop.balance() == Balance((1000 - len(served)) * HOLD, 0)
        assert shop.failed() == {}

    async def test_transactions_that_the_server_gives_up(
        self, postgres: PostgresServer, postgres_store: Place
    ) -> None:
        """A quarter of all commits fail for another's sake: they are done again, and no caller notices."""
        shop = Shop(postgres_store, funds=100 * HOLD)
        postgres.inject(postgres_store.address, "llmdeal.records", 25)
        async with running(shop) as ledger:
            for n in range(40):
                try:
                    await ledger.open_hold(shop.request(f"r{n}"))
                except LedgerDown:
                    await until(lambda: ledger.healthy)
                    continue
                await ledger.close_hold(paid(f"r{n}"))
            postgres.remove_injection(postgres_store.address, "llmdeal.records")
            await until(lambda: shop.open_requests() == {})
        ends = list(shop.ends().values())
        assert ends.count(("completed", HOLD)) >= 38
        assert shop.balance() == Balance(100 * HOLD - HOLD * ends.count(("completed", HOLD)), 0)
        assert shop.failed() == {}

    async def test_a_killed_server_keeps_what_was_promised(
        self, own_postgres: PostgresServer, tmp_path: Path
    ) -> None:
        """A hold that was granted is there after a power cut, settlements wait for the server on disk, and
        what was settled before is settled."""
        place = Place(PostgresStore(own_postgres.create_database()), tmp_path)
        place.open().migrate()
        shop = Shop(place, funds=20 * HOLD)
        async with running(shop) as ledger:
            await asyncio.gather(*(ledger.open_hold(shop.request(f"r{n}")) for n in range(10)))
            await ledger.close_hold(paid("r0"))
            own_postgres.kill()
            ends = [asyncio.ensure_future(ledger.close_hold(paid(f"r{n}"))) for n in range(1, 9)]
            await until(lambda: not ledger.healthy)
            with pytest.raises(LedgerDown):
                await ledger.open_hold(shop.request("new"))
            spool = tmp_path / "spool" / "test.spool"
            await until(lambda: spool.exists() and spool.stat().st_size)
            await asyncio.to_thread(own_postgres.start)
            assert [Closed(HOLD, Rule.COMPLETED)] * 8 == await asyncio.wait_for(asyncio.gather(*ends), 20)
            assert set(Shop.open_requests(shop)) == {"r9"}
            await ledger.close_hold(given_back("r9"))
        assert shop.balance() == Balance(11 * HOLD, 0)
        assert shop.failed() == {}
        place.close()

    async def test_a_server_that_does_not_answer(self, own_postgres: PostgresServer, tmp_path: Path) -> None:
        """A caller has his 503 within two seconds, a settlement is on disk within a second, and both go on
        when the server does."""
        place = Place(PostgresStore(own_postgres.create_database()), tmp_path)
        place.open().migrate()
        shop = Shop(place, funds=20 * HOLD)
        async with running(shop) as ledger:
            await ledger.open_hold(shop.request("r0"))
            own_postgres.pause()
            begun = time.monotonic()
            closing = asyncio.ensure_future(ledger.close_hold(paid("r0")))
            with pytest.raises(LedgerDown):
                await ledger.open_hold(shop.request("new"))
            assert time.monotonic() - begun < 2 * HOLD_WAIT_S
            await until(lambda: (tmp_path / "spool" / "test.spool").exists())
            await until(lambda: not ledger.healthy)
            own_postgres.resume()
            assert await asyncio.wait_for(closing, 20) == Closed(HOLD, Rule.COMPLETED)
            await until(lambda: ledger.healthy)
        assert shop.balance() == Balance(19 * HOLD, 0)
        assert shop.failed() == {}
        place.close()

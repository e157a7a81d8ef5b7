"""The short form of `make bench-ledger`: what group commit saves, counted. No clock decides here."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from postgres_server import PostgresServer

from llmdeal_litellm.ledger.database import Database
from llmdeal_litellm.ledger.verify import verify

from .places import Place

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "ledger"))

from cases import CALLERS, FSYNCS_PER_OPERATION_MAX
from customers import Customers
from group_side import GroupSide
from sqlite_syncs import counted_syncs

TIMES = 10
"""Holds of each caller, and as many settlements."""
OPERATIONS = 2 * TIMES * CALLERS
Counted = Callable[[GroupSide], Awaitable[float]]


async def _operations(side: GroupSide) -> None:
    await side.open()
    done = await side.run(CALLERS, times=TIMES)
    await side.close()
    assert done.operations == OPERATIONS


async def in_sqlite(side: GroupSide) -> float:
    """How many fsyncs an operation takes, those of opening and closing the file included."""
    with counted_syncs() as syncs:
        await _operations(side)
    assert syncs.log > 0, "what counts does not count"
    return syncs.total / OPERATIONS


def in_postgres(server: PostgresServer) -> Counted:
    """As above, by the server's own count; all sessions have ended when it is asked."""

    async def counted(side: GroupSide) -> float:
        server.end_sessions()
        before = server.fsyncs()
        await _operations(side)
        flushed = server.fsyncs() - before
        assert flushed > 0, "what counts does not count"
        return flushed / OPERATIONS

    return counted


@pytest.mark.parametrize("accounts", [1, 200], ids=["one account", "many accounts"])
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_one_fsync_serves_many(kind: str, accounts: int, request: pytest.FixtureRequest) -> None:
    """64 callers at once: at most one fsync for ten operations, all of them done, and the books are right."""
    place: Place = request.getfixturevalue(f"{kind}_store")
    counted = in_sqlite if kind == "sqlite" else in_postgres(request.getfixturevalue("postgres"))
    customers = Customers(accounts)
    customers.move_in(place.open())
    place.close()  # the server counts what a session flushed when the session ends
    side = GroupSide(place.open_ledger, place.folder / "spool", customers)
    assert await counted(side) <= FSYNCS_PER_OPERATION_MAX
    check_all(place.open())


def check_all(database: Database) -> None:
    """Every hold has ended with a charge, and every invariant holds."""
    ends = database.rows(
        "SELECT kind, count(*) FROM records WHERE kind <> 'credit' GROUP BY kind ORDER BY kind"
    )
    assert ends == [("hold", OPERATIONS // 2), ("post", OPERATIONS // 2)]
    assert database.rows("SELECT count(*) FROM open_holds") == [(0,)]
    assert [check.name for check in verify(database, now_us=database.now_us()) if not check.ok] == []

"""This gateway on a store that was full before it started: on SQLite, or on PostgreSQL and Redis."""

import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psycopg
from gateway import Config, Gateway
from ours import launched
from places import OTHER_CORE, on_core
from postgres_server import PostgresServer, binaries
from processes import until
from redis_server import RedisServer
from stores import SECRETS, Filling, Say, sqlite_file

from llmdeal_litellm.ledger.database import Database
from llmdeal_litellm.ledger.postgres import PostgresDatabase
from llmdeal_litellm.ledger.postgres_connection import PatientConnection
from llmdeal_litellm.ledger.sqlite import SqliteDatabase
from llmdeal_litellm.ledger.verify import verify

LOOKED_AT = 50
"""Of so many accounts that asked, and of as many others, every record is checked at the end."""
SETTLE_S = 30.0
SUMS = {
    "records and house entries": "SELECT (SELECT sum(balance_change) FROM records) "
    "+ (SELECT sum(amount) FROM house_entries)",
    "balances less records": "SELECT (SELECT sum(balance) FROM wallets) "
    "- (SELECT sum(balance_change) FROM records)",
    "what wallets hold": "SELECT sum(held) FROM wallets",
    "what keys spent, plus charges": "SELECT (SELECT sum(spent) FROM keys) "
    "+ (SELECT COALESCE(sum(balance_change), 0) FROM records WHERE kind = 'post')",
    "open holds": "SELECT count(*) FROM open_holds",
}
"""What must be 0 over the whole ledger."""
CHARGES = "SELECT count(*) FROM records WHERE kind = 'post'"
OPEN = "SELECT count(*) FROM open_holds"
ASKED = "SELECT DISTINCT account_id FROM records WHERE at_us >= ? LIMIT ?"


@dataclass
class Full:
    """A gateway that runs on a full store."""

    gateway: Gateway
    filling: Filling
    database: Callable[[], Database]
    keys: list[str] = field(init=False)
    begun_us: int = field(default_factory=lambda: time.time_ns() // 1000)

    def __post_init__(self) -> None:
        self.keys = self.filling.key_texts()

    def some_keys(self, most: int, chance: random.Random) -> list[str]:
        """So many of its keys, each once, in no order."""
        return chance.sample(self.keys, min(most, len(self.keys)))

    def wait_for_open(self, count: int) -> None:
        """Until so many holds are open."""
        with closing(self.database()) as database:
            until(lambda: int(database.rows(OPEN)[0][0]) >= count, patience_s=60, what=f"{count} open holds")

    def check(self, answered: int) -> None:
        """Add up the whole ledger, and look at every record of some accounts. Raises AssertionError."""
        with closing(self.database()) as database:
            until(lambda: database.rows(OPEN)[0][0] == 0, patience_s=SETTLE_S, what="the last settlement")
            database.run("ANALYZE")
            for name, select in SUMS.items():
                found = database.rows(select)[0][0]
                assert found == 0, f"{self.filling.name}: {name}: {found}"
            charged = int(database.rows(CHARGES)[0][0]) - self.filling.keys * self.filling.requests_each
            assert charged == answered, f"{self.filling.name}: {answered} answers, {charged} charges"
            accounts = [str(row[0]) for row in database.rows(ASKED, (self.begun_us, LOOKED_AT))]
            others = self.filling.account_ids()
            accounts += random.Random(0).sample(others, min(LOOKED_AT, len(others)))
            checks = verify(database, now_us=database.now_us(), accounts=list(dict.fromkeys(accounts)))
            wrong = [check for check in checks if not check.ok]
            assert not wrong, wrong


@contextmanager
def on_files(
    fillings: Sequence[Filling], config: Config, folder: Path, kept: Path, say: Say
) -> Iterator[list[Full]]:
    """One on each filling, on copies of the kept files."""
    with ExitStack() as ending:
        found = []
        for filling in fillings:
            source = sqlite_file(filling, kept, say)
            own = folder / filling.name
            (own / "data").mkdir(parents=True)
            path = own / "data" / "llmdeal.db"
            shutil.copyfile(source, path)
            found.append(_started(filling, config, own, {}, partial(SqliteDatabase, path), ending, say))
        yield found


@contextmanager
def on_servers(
    fillings: Sequence[Filling], config: Config, folder: Path, kept: Path, say: Say
) -> Iterator[list[Full]]:
    """One on each filling, each a database of one PostgreSQL server, and with a Redis of its own."""
    with ExitStack() as ending:
        with on_core(OTHER_CORE):
            server = PostgresServer(folder)
            ending.callback(server.close)
            _start_full(server, fillings, kept, say)
        found = []
        for filling in fillings:
            own = folder / filling.name
            own.mkdir()
            with on_core(OTHER_CORE):
                redis = ending.enter_context(RedisServer())
            url = server.url_of(filling.name)
            said = {"LLMDEAL_DATABASE_URL": url, "LLMDEAL_REDIS_URL": redis.url}
            found.append(_started(filling, config, own, said, partial(_database, url), ending, say))
        yield found


def _start_full(server: PostgresServer, fillings: Sequence[Filling], kept: Path, say: Say) -> None:
    """Start the server on a copy of the kept data folder, made when it is not there."""
    assert server.folder is not None, "the server of TEST_POSTGRES_URL is not ours to fill"
    source = kept / "-".join([binaries().parent.name, *(filling.name for filling in fillings)])
    data = server.folder / "data"
    if source.exists():
        _copy(source, data)
        server.start()
        return
    server.start()
    for filling in fillings:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {filling.name}")
        with closing(_database(server.url_of(filling.name))) as database:
            filling.fill(database, say)
            database.run("VACUUM (FREEZE, ANALYZE)")
    server.stop()
    kept.mkdir(parents=True, exist_ok=True)
    made = source.with_suffix(".new")
    shutil.rmtree(made, ignore_errors=True)
    _copy(data, made)
    made.rename(source)
    server.start()


def _copy(source: Path, target: Path) -> None:
    """With owners and modes, which PostgreSQL insists on."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def _database(url: str) -> Database:
    return PostgresDatabase(url, PatientConnection)


def _started(
    filling: Filling,
    config: Config,
    folder: Path,
    environment: dict[str, str],
    database: Callable[[], Database],
    ending: ExitStack,
    say: Say,
) -> Full:
    say(f"starting a gateway on {filling.name}")
    process, started_s = ending.enter_context(launched(folder, config, SECRETS | environment))
    name = f"{filling.keys:,} keys, {filling.records:,} records"
    gateway = Gateway(filling.name, name, process.url, process.process.pid, started_s)
    return Full(gateway, filling, database)

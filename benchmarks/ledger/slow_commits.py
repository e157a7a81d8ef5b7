"""Stores on which every commit takes longer.

As a program: a proxy before the PostgreSQL server at the address given, in a process of its own so that its
work is not the measured process's. Prints its port, and ends when its standard input does.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from fault_proxy import FaultProxy
from psycopg import sql

from llmdeal_litellm.ledger.database import Values
from llmdeal_litellm.ledger.sqlite import SqliteDatabase


class SlowSqlite(SqliteDatabase):
    """SQLite that waits `sleep_s` seconds before each commit, with the write lock in its hands: a disk that
    takes longer to flush."""

    def __init__(self, path: Path, sleep_s: float) -> None:
        super().__init__(path)
        self._sleep_s = sleep_s

    def run(self, statement: str, values: Values = ()) -> int:
        """See `Database.run`."""
        if statement == "COMMIT":
            time.sleep(self._sleep_s)  # the flush of a slower disk
        return super().run(statement, values)


@contextmanager
def slow_flushes(url: str, delay_s: float) -> Iterator[Callable[[str], str]]:
    """Sessions that are opened in this block flush later by so much, all commits that come meanwhile
    together, and keep their locks as long: a disk that takes longer. Yields what to make of the address."""
    database = sql.Identifier(urlsplit(url).path.lstrip("/"))
    settings = (("commit_delay", round(delay_s * 1e6)), ("commit_siblings", 0))
    with psycopg.connect(url, autocommit=True) as connection:
        for name, value in settings:
            connection.execute(
                sql.SQL("ALTER DATABASE {} SET {} = {}").format(database, sql.SQL(name), value)
            )
        yield lambda address: address
        connection.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(database))


@contextmanager
def slow_answers(url: str, delay_s: float) -> Iterator[Callable[[str], str]]:
    """A proxy that adds so much to the answer to every COMMIT: a network that takes longer. The server has
    committed by then, and given the locks back. Yields what turns an address of it into one of the proxy."""
    command = [sys.executable, str(Path(__file__)), url, str(delay_s)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())

        def through(address: str) -> str:
            parts = urlsplit(address)
            user = parts.netloc.rpartition("@")[0]
            return parts._replace(netloc=f"{user}@127.0.0.1:{port}" if user else f"127.0.0.1:{port}").geturl()

        yield through
    finally:
        process.communicate()


def main() -> None:
    """Be that proxy."""
    with FaultProxy(sys.argv[1]) as proxy:
        proxy.commit_delay_s = float(sys.argv[2])
        print(proxy.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()

"""Short reads beside the ledger's writer: who a key belongs to, and what a repeated request is answered."""

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from llmdeal_litellm.ledger.database import Row, StoreFailed, Values
from llmdeal_litellm.ledger.postgres_connection import PostgresReaders
from llmdeal_litellm.ledger.sqlite import SqliteDatabase

READERS = 4
READ_WAIT_S = 1.0
"""How long a caller waits for a read, so that he has his 503 within two seconds."""


class Reader(Protocol):
    """Reads what is committed."""

    async def rows(self, select: str, values: Values = ()) -> list[Row]:
        """All rows of a select that uses an index. Raises StoreFailed."""

    def close(self) -> None:
        """Close what is open."""


class SqliteReader:
    """Reads a file: microseconds, on the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: SqliteDatabase | None = None

    async def rows(self, select: str, values: Values = ()) -> list[Row]:
        """See `Reader.rows`."""
        if self._database is None:
            self._database = SqliteDatabase(self._path, read_only=True)
        return self._database.rows(select, values)

    def close(self) -> None:
        """See `Reader.close`."""
        if self._database is not None:
            self._database.close()
            self._database = None


class PostgresReader:
    """Reads from a server, in threads of its own: what the event loop's threads do must not wait for it.

    What is asked for several times at once is read once. While the server is known to be away one read at a
    time is tried; all others fail at once.
    """

    def __init__(self, url: str) -> None:
        self._pool = PostgresReaders(url, most=READERS)
        self._pool.open()
        self._threads = ThreadPoolExecutor(READERS, "ledger-reader")
        self._reading: dict[tuple[str, tuple[object, ...]], asyncio.Task[list[Row]]] = {}
        self._away = ""
        self._trying = False

    async def rows(self, select: str, values: Values = ()) -> list[Row]:
        """See `Reader.rows`. Takes READ_WAIT_S at most."""
        asked = select, tuple(values.items() if isinstance(values, Mapping) else values)
        reading = self._reading.get(asked)
        if reading is None:
            if self._away and self._trying:
                raise StoreFailed(self._away)
            reading = self._reading[asked] = asyncio.create_task(self._read(select, values))
            reading.add_done_callback(lambda done: self._ended(asked, done))
        # One of those who wait may leave.
        return await asyncio.shield(reading)

    def _ended(self, asked: tuple[str, tuple[object, ...]], reading: "asyncio.Task[list[Row]]") -> None:
        del self._reading[asked]
        if not reading.cancelled():
            reading.exception()  # perhaps nobody waits for it any more

    async def _read(self, select: str, values: Values) -> list[Row]:
        self._trying = True
        begun = threading.Event()

        def read() -> list[Row]:
            begun.set()
            return self._pool.rows(select, values)

        try:
            reading = asyncio.get_running_loop().run_in_executor(self._threads, read)
            await asyncio.wait({reading}, timeout=READ_WAIT_S)
            await asyncio.sleep(0)  # when the event loop itself was late, the result is in its queue
            if not reading.done():
                reading.cancel()
                raise StoreFailed(f"no answer within {READ_WAIT_S:g} s")
            found = await reading
        except StoreFailed as failed:
            # One that only waited for its turn says nothing of the server.
            self._away = str(failed) if begun.is_set() else self._away
            raise
        finally:
            self._trying = False
        self._away = ""
        return found

    def close(self) -> None:
        """See `Reader.close`."""
        self._pool.close()
        self._threads.shutdown(wait=False, cancel_futures=True)


_guards: tuple[type[Reader], ...] = (SqliteReader, PostgresReader)

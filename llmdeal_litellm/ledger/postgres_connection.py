"""Connections to PostgreSQL: bounded waits, failures under our names, and a pool for short reads."""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from psycopg_pool import ConnectionPool

from llmdeal_litellm.ledger.database import (
    Conflict,
    Row,
    StatementRefused,
    StoreBusy,
    StoreFailed,
    Values,
)

SCHEMA = "llmdeal"
ANSWER_S = 1.0
"""How long the server may take for one statement of the gateway."""
PATIENT_ANSWER_S = 60.0
"""How long it may take for one of an operator's command."""
CONNECT_S = 2
T = TypeVar("T")
Raw = psycopg.Connection[Row]


class BoundedConnection(psycopg.Connection[Row]):
    """A connection that is closed when the server takes longer than `answer_s` seconds for an answer."""

    answer_s = ANSWER_S
    still_s = 3.0
    """How long a transaction may stand still: then the server ends the connection, so that a process which is
    gone or stopped keeps no rows locked from the others."""

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """See psycopg: every exchange with the server goes through here."""
        begun = time.monotonic()
        try:
            return super().wait(gen, interval, self.answer_s if timeout is None else timeout)
        except errors.OperationalError:
            if time.monotonic() - begun >= self.answer_s:
                # Half an answer may be on its way: this connection cannot be used any more.
                self.pgconn.finish()
            raise


class PatientConnection(BoundedConnection):
    """As above, for commands that read a lot."""

    answer_s = PATIENT_ANSWER_S
    still_s = 60.0


def dial(url: str, kind: type[BoundedConnection] = BoundedConnection) -> Raw:
    """A connection in autocommit mode. Raises psycopg.Error."""
    return kind.connect(url, **_dialled(kind))


def _dialled(kind: type[BoundedConnection]) -> dict[str, Any]:
    settings = (
        f"search_path={SCHEMA}",
        f"statement_timeout={(kind.answer_s + 1) * 1000:.0f}",  # nobody waits for it any more
        f"idle_in_transaction_session_timeout={kind.still_s * 1000:.0f}",
        # A machine that is gone is noticed in some ten seconds, not in two hours.
        *("tcp_keepalives_idle=4", "tcp_keepalives_interval=2", "tcp_keepalives_count=3"),
    )
    return {
        "autocommit": True,
        "connect_timeout": CONNECT_S,
        "application_name": "llmdeal",
        "options": " ".join(f"-c {setting}" for setting in settings),
    }


STORES_STATE = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.InternalError,  # read-only, or the session was ended in a transaction that stood still
    errors.UndefinedTable,
    errors.InsufficientPrivilege,
)
"""Failures for which no statement is to blame: it works once the server is what it should be."""


@contextmanager
def named() -> Iterator[None]:
    """PostgreSQL's failures under our names."""
    try:
        yield
    except (errors.SerializationFailure, errors.DeadlockDetected) as given_up:
        raise Conflict(str(given_up)) from given_up
    except (errors.LockNotAvailable, errors.QueryCanceled) as busy:
        raise StoreBusy("the database is locked by another process; try again") from busy
    except STORES_STATE as failed:
        raise StoreFailed(_sentence(failed)) from failed
    except psycopg.Error as refused:
        raise StatementRefused(_sentence(refused)) from refused


def _sentence(error: psycopg.Error) -> str:
    return str(error).strip().split("\n", 1)[0]


class PostgresReaders:
    """A few connections for short reads beside the ledger's own."""

    def __init__(self, url: str, *, most: int = 4) -> None:
        self._most = most
        # Each connection that it loses would be three lines; the ledger says in one that the store is away.
        logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
        self._pool: ConnectionPool[BoundedConnection] = ConnectionPool(
            url,
            connection_class=BoundedConnection,
            kwargs=_dialled(BoundedConnection),
            min_size=1,
            max_size=most,
            timeout=ANSWER_S,
            reconnect_timeout=CONNECT_S,
            check=None,
            open=False,
        )

    def open(self) -> None:
        """Begin dialling; reads wait for a connection, but not for long."""
        self._pool.open()

    def rows(self, select: str, values: Values = ()) -> list[Row]:
        """All rows of a select. Raises StoreFailed.

        Connections that the server has ended meanwhile, as when it is started anew, are left aside.
        """
        begun_s = time.monotonic()
        for left in reversed(range(self._most + 1)):
            try:
                with named(), self._pool.connection() as raw:
                    return raw.execute(placeholders(select), values or None).fetchall()
            except StoreFailed:
                if not left or time.monotonic() - begun_s > ANSWER_S / 2:
                    raise
        raise AssertionError("the last one returns or raises")

    def close(self) -> None:
        """Close them all."""
        self._pool.close(timeout=CONNECT_S)


def hidden(url: str) -> str:
    """The address without its password, wherever it stands."""
    shown = re.sub(r"(?<=://)([^:@/]*):[^@/]*@", r"\1:***@", url)
    return re.sub(r"(?<=[?&])password=[^&]*", "password=***", shown)


@lru_cache(maxsize=512)
def placeholders(statement: str) -> str:
    """Our placeholders as psycopg writes them."""
    return re.sub(r"(?<!:):([a-z_]+)", r"%(\1)s", statement.replace("%", "%%")).replace("?", "%s")

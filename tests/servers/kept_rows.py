"""The table that the tests of the servers write to."""

from typing import Any

import psycopg

TABLE = "CREATE TABLE kept (n int)"


def connect(url: str, **options: Any) -> "psycopg.Connection[Any]":
    return psycopg.connect(url, autocommit=True, connect_timeout=5, **options)


def rows(url: str) -> list[int]:
    with connect(url) as connection:
        return [n for (n,) in connection.execute("SELECT n FROM kept ORDER BY n")]

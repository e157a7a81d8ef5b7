"""Real servers. None is shared with tests elsewhere: workers of theirs would count as workers of these."""

from collections.abc import Iterator
from typing import Any

import pytest
from outage_figures import FIGURES
from postgres_server import PostgresServer
from processes import simulator_process
from server_fixtures import own_redis

__all__ = ["own_redis"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One for all tests here that do not kill it, each with a database of its own."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def simulator() -> Iterator[str]:
    """The address of the one simulator behind all workers; each world resets it."""
    with simulator_process() as address:
        yield address


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The figures."""
    if FIGURES:
        terminalreporter.section("outages")
    for figure in FIGURES:
        terminalreporter.write_line(figure)

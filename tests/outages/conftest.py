"""Real servers: one of each for all tests here, and own ones for those that kill them."""

from collections.abc import Iterator
from typing import Any

import pytest
from outage_figures import FIGURES
from processes import simulator_process
from server_fixtures import own_postgres, own_redis, postgres, redis_server

__all__ = ["own_postgres", "own_redis", "postgres", "redis_server"]


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

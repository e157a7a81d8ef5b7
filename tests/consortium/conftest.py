"""Two machines for all tests, and real servers for fleets."""

from collections.abc import Iterator

import pytest
from machines import RunningMachine, running_machine
from server_fixtures import own_redis, postgres

__all__ = ["own_redis", "postgres"]


Machines = tuple[RunningMachine, RunningMachine]


@pytest.fixture(scope="session")
def _two_machines() -> Iterator[Machines]:
    with running_machine() as first, running_machine() as second:
        yield first, second


@pytest.fixture
def machines(_two_machines: Machines) -> Iterator[Machines]:
    """Both, nothing left from the test before."""
    for machine in _two_machines:
        machine.reset()
    yield _two_machines
    for machine in _two_machines:
        machine.reset()

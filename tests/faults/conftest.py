"""One gateway and one simulator for all rows. The selected rows run before the first test; each test looks at
its own."""

from pathlib import Path
from typing import Any

import pytest
from fault_gateway import FaultGateway
from fault_rows import ROWS, Row, config
from fault_run import FaultRun, Outcome, table
from processes import simulator_process

_OUTCOME = pytest.StashKey[Outcome]()


@pytest.fixture(scope="session")
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What came of the selected rows, or of all of them where none is."""
    params = [i.callspec.params for i in request.session.items if hasattr(i, "callspec")]
    rows = [found["row"] for found in params if isinstance(found.get("row"), Row)] or ROWS
    folder: Path = tmp_path_factory.mktemp("faults")
    with (
        simulator_process() as simulator,
        FaultGateway(folder, config(rows, simulator)).running() as gateway,
    ):
        found = request.config.stash[_OUTCOME] = FaultRun(gateway, simulator).of(rows)
    return found


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--fault-table` prints the table; the counts are always printed."""
    parser.addoption("--fault-table", action="store_true", help="print what becomes of every fault")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The counts, and the table when it was asked for."""
    found = config.stash.get(_OUTCOME, None)
    if found is None:
        return
    terminalreporter.section("faults by wire")
    lines = list(table(found.rows))
    for line in lines if config.getoption("--fault-table") else lines[lines.index("") + 1 :]:
        terminalreporter.write_line(line)

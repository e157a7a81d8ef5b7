"""The black-box suite runs against one real `litellm --config` over HTTP, with one simulator behind it.

The chat cases run once for each upstream wire: a gateway whose pinned aliases are pointed at that wire.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from machines import QUICK
from processes import Config, GatewayProcess, pointed_at, shipped_config, simulator_process
from wire_table import WireTable, told
from wires import PINNED, PINNED_SEEING, WIRES, Cannot, Wire
from world import Customer, World

IMPATIENT_ALIAS = PINNED_SEEING
IMPATIENCE_S = 1.0
LIMITED_TIERS = ("free-trial", "starter", "founder")
CHAT_CASES = frozenset(
    "test_billing test_chat_completions test_client_disconnect test_concealment test_funds test_images "
    "test_error_precedence test_errors test_money test_openai_sdk test_parameters test_reference_examples "
    "test_request_log test_streaming test_structured_output test_tools test_upstream_errors "
    "test_wires test_wire_fuzz".split()
)
"""The modules whose tests run on every wire."""
OTHER_ALIASES = ("model", "alias", "provider")
"""Test parameters that name an alias or a provider; the cases of others than the pinned ones run once."""

table = WireTable()


def impatient(config: Config) -> Config:
    """The config with one deployment that is given up soon, so that a test of it need not wait."""
    for entry in config["model_list"]:
        if entry["model_name"] == IMPATIENT_ALIAS:
            entry["litellm_params"]["timeout"] = IMPATIENCE_S
    return config


def unlimited(config: Config) -> Config:
    """The config with tiers whose keys are never refused for their limits, but for those of LIMITED_TIERS:
    most tests are about something else."""
    for name, tier in config["llmdeal"]["tiers"].items():
        if name not in LIMITED_TIERS:
            tier |= {"tpm": 10**9, "rpm": 10**6, "requests_per_minute": 10**6, "burst": 10**6}
    return config


def forgiving(config: Config) -> Config:
    """The config with breakers that hardly ever open: what fails in one test is well in the next."""
    config["llmdeal"]["breaker"] = {"failures": 100, "calls": 100, "open_s": 0.001, "cool_max_s": 0.001}
    return config


def with_machines(config: Config) -> Config:
    """The config with machines on this host allowed as partners, and looked at often."""
    config["llmdeal"]["partners"] = QUICK
    return config


def over(wire: Wire, config: Config) -> Config:
    """The config with the pinned aliases pointed at the wire: their `model` changes, nothing else."""
    models = {PINNED: wire.model, PINNED_SEEING: wire.seeing_model}
    for entry in config["model_list"]:
        if model := models.get(entry["model_name"]):
            entry["litellm_params"]["model"] = model
    return config


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, wire: str) -> Iterator[World]:
    """The shared gateway. Tests bring their own accounts, and leave no script behind."""
    folder: Path = tmp_path_factory.mktemp(f"gateway-{wire}")
    with simulator_process() as simulator:
        config = pointed_at(simulator, over(WIRES[wire], shipped_config()))
        config = with_machines(forgiving(unlimited(impatient(config))))
        gateway = GatewayProcess.launch(folder, config)
        try:
            world = World(gateway.wait_until_ready(), simulator, WIRES[wire])
            yield world
            world.close()
        finally:
            gateway.stop()


@pytest.fixture(autouse=True)
def fresh_simulator(world: World) -> Iterator[None]:
    """No script, barrier or record of the test before."""
    world.control.post("/reset")
    yield
    world.control.post("/reset")


@pytest.fixture
def customer(world: World) -> Customer:
    """A pro account with 10 USD."""
    return world.customer()


@pytest.fixture
def lacking(request: pytest.FixtureRequest, world: World) -> Callable[[str], Cannot | None]:
    """Ask whether the wire lacks something; when it does, the case says so in the table."""

    def ask(what: str) -> Cannot | None:
        row = world.wire.lacks(what)
        if row is not None:
            request.node.user_properties.append(("lacking", told(row)))
        return row

    return ask


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--wire-table` prints the table of all cases; the counts are always printed."""
    parser.addoption("--wire-table", action="store_true", help="print every chat case on every wire")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test of a gateway has a wire; those of the chat cases run on all of them."""
    if "world" in metafunc.fixturenames:
        module = metafunc.module.__name__.rpartition(".")[2]
        once = metafunc.definition.get_closest_marker("one_wire") is not None
        wires = list(WIRES) if module in CHAT_CASES and not once else ["openai"]
        metafunc.parametrize("wire", wires, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is about another alias than the pinned ones is the same on each gateway: it runs on one."""
    kept, left = [], []
    for item in items:
        (left if _repeats(item) else kept).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left)


def _repeats(item: pytest.Item) -> bool:
    params: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
    wire = params.get("wire", "openai")
    if wire == "openai":
        return False
    own = (PINNED, PINNED_SEEING, WIRES[wire].provider, "smart-route")
    return any(isinstance(params.get(n), str) and params[n] not in own for n in OTHER_ALIASES)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Write each case into the table."""
    report = yield
    params = item.callspec.params if hasattr(item, "callspec") else {}
    if "wire" in params and (report.when == "call" or report.failed):
        path, _, given = item.nodeid.removeprefix("tests/spec/").partition("[")
        given = given.removesuffix("]").removeprefix(params["wire"]).removeprefix("-").replace("|", "/")
        case = f"{path}[{given}]" if given else path
        reasons = [text for name, text in item.user_properties if name == "lacking"]
        outcome = "; ".join(reasons) or "passed"
        table.add(case, params["wire"], "FAILED" if report.failed else outcome)
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The counts, and the table when it was asked for."""
    if not any(row for row in table.counts() if not row.endswith("none ran")):
        return
    terminalreporter.section("chat cases by wire")
    for line in (*(table.lines() if config.getoption("--wire-table") else ()), *table.counts()):
        terminalreporter.write_line(line)

"""The black-box suite runs against one real `litellm --config` over HTTP, with one simulator behind it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Config, GatewayProcess, pointed_at, shipped_config, simulator_process
from world import Customer, World

IMPATIENT_ALIAS = "nvidia/llama-4-maverick"
IMPATIENCE_S = 1.0


def impatient(config: Config) -> Config:
    """The config with one deployment that is given up soon, so that a test of it need not wait."""
    for entry in config["model_list"]:
        if entry["model_name"] == IMPATIENT_ALIAS:
            entry["litellm_params"]["timeout"] = IMPATIENCE_S
    return config


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The shared gateway. Tests bring their own accounts, and leave no script behind."""
    folder: Path = tmp_path_factory.mktemp("gateway")
    with simulator_process() as simulator:
        config = impatient(pointed_at(simulator, shipped_config()))
        gateway = GatewayProcess.launch(folder, config)
        try:
            world = World(gateway.wait_until_ready(), simulator)
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

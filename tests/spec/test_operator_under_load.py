"""The operator's command works beside a gateway that is busy all the time."""

import statistics
import time
from typing import Any

import pytest
from load import Load, under_load
from processes import llmdeal, until
from world import Customer, World

CONNECTIONS = 16
ROUNDS = 5
COMMANDS_MIN = 50
WISHED_S = 1.0
REVOKED_WITHIN_S = 5.0


class Operator:
    """Runs commands in the gateway's folder and keeps how long each took."""

    def __init__(self, world: World) -> None:
        self._folder = world.gateway.folder
        self.took: dict[str, list[float]] = {}

    def __call__(self, *words: str) -> Any:
        """Run a command that must work; returns its JSON."""
        began = time.monotonic()
        answer = llmdeal(self._folder, *words)
        name = " ".join(word for word in words[:2] if "_" not in word)
        self.took.setdefault(name, []).append(time.monotonic() - began)
        return answer

    def a_round(self) -> str:
        """Ten different commands about a new account; returns its id."""
        account: str = self("account", "create", "--name", "Ada", "--tier", "pro")["id"]
        assert self("account", "credit", account, "25", "--note", "invoice 7")["balance_usd"] == "25.00"
        assert self("account", "tier", account, "founder")["tier"] == "founder"
        assert self("account", "addon", account, "frontier", "on")["frontier_addon"] is True
        key = self("key", "mint", account)
        assert self("key", "cap", key["key_id"], "5")["cap_usd"] == "5.00"
        assert [k["key_id"] for k in self("key", "list", account)["keys"]] == [key["key_id"]]
        assert self("key", "revoke", key["key_id"])["revoked"] is True
        assert self("account", "show", account)["keys"] == 0
        assert account in [a["id"] for a in self("account", "list")["accounts"]]
        return account

    def report(self, load: Load) -> None:
        """Print what each command took."""
        print(f"\n{load.answered} requests answered in {load.seconds:.1f} s meanwhile: {dict(load.statuses)}")
        for name, seconds in self.took.items():
            shown = " ".join(f"{s:.2f}" for s in seconds)
            print(f"{name:<16} median {statistics.median(seconds):.2f} s   each {shown}")
        slowest, name = max((max(seconds), name) for name, seconds in self.took.items())
        verdict = "under" if slowest < WISHED_S else "NOT UNDER"
        print(f"slowest of {self.commands}: {name} {slowest:.2f} s, {verdict} {WISHED_S:g} s")

    @property
    def commands(self) -> int:
        """How many commands were run."""
        return sum(map(len, self.took.values()))


@pytest.fixture
def callers(world: World) -> list[Customer]:
    """One account with a key for each connection."""
    first = world.customer(tier="demo", nano=10**12)
    return [first, *(world.another_key(first) for _ in range(CONNECTIONS - 1))]


def test_fifty_commands_beside_sixteen_busy_connections(world: World, callers: list[Customer]) -> None:
    """Each command succeeds while the gateway is saturated, and the books are right meanwhile and after."""
    operator = Operator(world)
    with under_load(world, callers) as load:
        until(lambda: load.answered > 100, what="the load")
        for _ in range(ROUNDS):
            operator.a_round()
            operator("usage", callers[0].account_id)
            assert operator("ledger", "verify")["ok"] is True
            assert operator("config", "check", "config.yaml")["ok"] is True
    operator.report(load)

    assert operator.commands >= COMMANDS_MIN
    assert set(load.statuses) == {200}
    world.settled(callers[0])
    world.verify()


def test_a_key_revoked_by_the_command_is_refused_within_seconds(
    world: World, callers: list[Customer], customer: Customer
) -> None:
    """The gateway notices what another process wrote, also while it is busy."""
    operator = Operator(world)
    with under_load(world, callers) as load:
        until(lambda: load.answered > 100, what="the load")
        assert world.chat(customer).status_code == 200
        operator("key", "revoke", customer.key_id)
        began = time.monotonic()
        until(lambda: world.chat(customer).status_code == 401, patience_s=REVOKED_WITHIN_S, what="a 401")
        print(f"\nrevoked key refused {time.monotonic() - began:.2f} s after the command ended")
    assert set(load.statuses) == {200}

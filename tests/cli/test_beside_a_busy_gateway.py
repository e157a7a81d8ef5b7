"""Commands beside a gateway that writes without a pause: each one gets its turn."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from llmdeal_litellm.money import parse_usd, usd_text

from .operator_command import Operator

DRIVER = Path(__file__).with_name("busy_ledger.py")
ROUNDS = 5
CHARGE_NANO = 68_000
"""What each request of the driver costs: 40 tokens at 0.20 and 100 at 0.60 USD per 1M."""


@pytest.fixture
def busy(new_operator: Operator) -> Iterator[tuple[Operator, "subprocess.Popen[str]", str]]:
    """The load runs for as long as the test does."""
    payer = new_operator.account(credit="100000")
    key = new_operator.ok("key", "mint", payer)["key_id"]
    load = subprocess.Popen(
        [sys.executable, str(DRIVER), str(new_operator.database), payer, key],
        env=new_operator.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert load.stdout is not None
        assert load.stdout.readline() == "ready\n"
        yield new_operator, load, payer
    finally:
        load.kill()
        load.communicate()


def test_fifty_commands_succeed(busy: tuple[Operator, "subprocess.Popen[str]", str]) -> None:
    """Ten different commands, five times; afterwards the books are right and nothing is held."""
    operator, load, payer = busy
    account = operator.account()
    took: list[tuple[float, str]] = []

    def timed(*command: str) -> dict[str, str]:
        began = time.monotonic()
        answer: dict[str, str] = operator.ok(*command)
        took.append((time.monotonic() - began, " ".join(command)))
        return answer

    for _ in range(ROUNDS):
        timed("account", "create", "--name", "Ada", "--tier", "pro")
        timed("account", "credit", account, "0.1")
        key_id = timed("key", "mint", account)["key_id"]
        timed("key", "cap", key_id, "5")
        timed("key", "revoke", key_id)
        timed("account", "tier", account, "founder")
        timed("account", "show", payer)
        timed("account", "list")
        timed("usage", payer)
        timed("account", "freeze", account)
    assert len(took) == 10 * ROUNDS
    assert operator.ok("account", "show", account)["balance_usd"] == f"{ROUNDS / 10:.2f}"
    assert operator.run("ledger", "verify", "--json").json["ok"] is True
    settled, _ = load.communicate(input="", timeout=60)
    assert load.returncode == 0
    assert int(settled) > 0
    print(f"slowest: {max(took)[0]:.2f} s: {max(took)[1]}; {settled.strip()} requests settled meanwhile")
    _check_what_was_charged(operator, payer, int(settled))


def _check_what_was_charged(operator: Operator, payer: str, settled: int) -> None:
    charged = settled * CHARGE_NANO
    row = {
        "account_id": payer,
        "alias": "llama-3.3-70b",
        "requests": settled,
        "input_tokens": 40 * settled,
        "output_tokens": 100 * settled,
        "charged_usd": usd_text(charged),
    }
    used = {"days": 1, "usage": [row], "charged_usd": usd_text(charged)}
    assert operator.ok("usage", payer, "--days", "1") == operator.ok("usage", "--days", "1") == used
    shown = operator.ok("account", "show", payer)
    assert (shown["balance_usd"], shown["held_usd"]) == (usd_text(parse_usd("100000") - charged), "0.00")
    assert operator.run("ledger", "verify", "--json").json["ok"] is True
    with closing(sqlite3.connect(operator.database)) as connection, connection:
        connection.execute("DROP TRIGGER records_not_updated")
        connection.execute("UPDATE records SET at_us = at_us - 2 * 86400000000")
    assert operator.ok("usage", payer, "--days", "1")["usage"] == []
    assert operator.ok("usage", payer, "--days", "3")["usage"] == [row]

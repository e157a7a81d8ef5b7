"""`llmdeal account statement`: every record once, and everything adds up."""

import csv
import io
import json
import random
import subprocess
import sys
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from llmdeal_litellm.ledger.ops import Credit, Dispute, ExtendHold
from llmdeal_litellm.ledger.rows import US_PER_DAY, US_PER_S

from .books import append_credits, do, hold, post, store_of, void
from .operator_command import TIMEOUT_S, Operator

DAY_1_US = 1_793_491_200 * US_PER_S
"""2026-11-01, midnight UTC."""
DAYS = [f"2026-11-{day:02d}" for day in range(1, 6)]
CLOCKS_APART_US = 7200 * US_PER_S
USD = ("balance_change_usd", "held_change_usd", "balance_usd", "held_usd")
NOTE = 'invoice 7, "paid" at last'


def a_story(operator: Operator) -> str:
    """An account with some 300 records on both wallets over five days, some holds still open."""
    account = operator.account()
    key = operator.ok("key", "mint", account)["key_id"]
    dice = random.Random(7)
    running: list[str] = []
    with store_of(operator) as database:
        for step in range(150):
            # Machines disagree about the time by up to two hours, also around midnight.
            now_us = DAY_1_US + step * 5 * US_PER_DAY // 150 + dice.randrange(CLOCKS_APART_US)
            wallet = dice.choice(["base", "base", "frontier"])
            if step % 30 == 0:
                do(database, Credit(account, "base", dice.randrange(10**10, 10**12), NOTE), now_us=now_us)
                do(database, Credit(account, "frontier", 10**9), now_us=now_us)
            tokens = dice.randrange(1, 5000)
            do(database, hold(f"req_{step}", account, key, tokens, wallet=wallet), now_us=now_us)
            running.append(f"req_{step}")
            if dice.random() < 0.9:
                ended = running.pop(dice.randrange(len(running)))
                if dice.random() < 0.3:
                    do(database, ExtendHold(ended, 6000), now_us=now_us)
                do(database, void(ended) if dice.random() < 0.2 else post(ended, 1), now_us=now_us)
        do(database, Dispute(account, "frontier", 1, "chargeback"), now_us=DAY_1_US + 5 * US_PER_DAY - 1)
    return account


def records(statement: Any) -> list[dict[str, Any]]:
    """The records of all wallets of a JSON statement."""
    return [record for wallet in statement["wallets"] for record in wallet["records"]]


def check_sums(wallet: Any) -> None:
    """Opening and changes make every running balance, and the last is the closing one."""
    version = wallet["opening"]["version"]
    balance, held = (Decimal(wallet["opening"][name]) for name in ("balance_usd", "held_usd"))
    for record in wallet["records"]:
        version += 1
        balance += Decimal(record["balance_change_usd"])
        held += Decimal(record["held_change_usd"])
        assert record["version"] == version
        assert (Decimal(record["balance_usd"]), Decimal(record["held_usd"])) == (balance, held)
    assert wallet["closing"]["version"] == version
    assert Decimal(wallet["closing"]["balance_usd"]) == balance
    assert Decimal(wallet["closing"]["held_usd"]) == held


def test_it_adds_up(any_operator: Operator) -> None:
    """In every format, for one wallet and both, over all time and day by day."""
    account = a_story(any_operator)
    whole = any_operator.ok("account", "statement", account)
    assert [wallet["wallet"] for wallet in whole["wallets"]] == ["base", "frontier"]
    shown = any_operator.ok("account", "show", account)
    for wallet, prefix in zip(whole["wallets"], ("", "frontier_"), strict=True):
        check_sums(wallet)
        assert wallet["opening"] == {"version": 0, "balance_usd": "0.00", "held_usd": "0.00"}
        assert wallet["closing"]["held_usd"] == shown[f"{prefix}held_usd"]
    assert whole["wallets"][0]["closing"]["balance_usd"] == shown["balance_usd"]
    assert whole["wallets"][1]["closing"]["balance_usd"] == shown["frontier_usd"]
    kinds = {record["kind"] for record in records(whole)}
    assert kinds == {"credit", "dispute", "hold", "extend", "post", "void"}
    for wallet in whole["wallets"]:
        alone = any_operator.ok("account", "statement", account, "--wallet", wallet["wallet"])
        assert alone["wallets"] == [wallet]
    check_days(any_operator, account, whole)
    check_csv(any_operator, account, whole)


def check_days(operator: Operator, account: str, whole: Any) -> None:
    """The statements of five days are the whole, each beginning where the one before it ended."""
    days = [
        operator.ok("account", "statement", account, "--since", day, "--until", day)["wallets"]
        for day in DAYS
    ]
    for number, wallet in enumerate(whole["wallets"]):
        parts = [day[number] for day in days]
        for part in parts:
            check_sums(part)
            assert len(part["records"]) > 2
        assert [record for part in parts for record in part["records"]] == wallet["records"]
        for before, after in pairwise(parts):
            assert before["closing"] == after["opening"]
        assert parts[-1]["closing"] == wallet["closing"]
    late = operator.ok("account", "statement", account, "--since", "2026-11-06")["wallets"]
    assert [(w["records"], w["opening"] == w["closing"]) for w in late] == [([], True)] * 2
    early = operator.ok("account", "statement", account, "--until", "2026-10-31")["wallets"]
    assert [(w["records"], w["closing"]["version"]) for w in early] == [([], 0)] * 2


def check_csv(operator: Operator, account: str, whole: Any) -> None:
    """The same values, beside an opening line for each wallet."""
    words = ("account", "statement", account, "--csv", "--since", DAYS[0])
    command = [sys.executable, "-m", "llmdeal_litellm.cli", *words]
    done = subprocess.run(
        command, env=operator.environment(), capture_output=True, check=True, timeout=TIMEOUT_S
    )
    text = done.stdout.decode()
    assert text.count("\r\n") == text.count("\n") == len(records(whole)) + 3
    lines = list(csv.DictReader(io.StringIO(text, newline="")))
    opening = [line for line in lines if line["kind"] == "opening"]
    assert [(line["wallet"], line["balance_usd"]) for line in opening] == [
        ("base", "0.00"),
        ("frontier", "0.00"),
    ]
    for line, record in zip([x for x in lines if x["kind"] != "opening"], records(whole), strict=True):
        assert list(line) == list(record)
        assert line == {name: "" if value is None else str(value) for name, value in record.items()}
    assert sum(line["note"] == NOTE for line in lines) == 5


def test_what_a_record_says(any_operator: Operator) -> None:
    """A hold is not billed; its end has the tokens that were, the rule, the key and the request."""
    account = any_operator.account()
    key = any_operator.ok("key", "mint", account)["key_id"]
    with store_of(any_operator) as database:
        do(database, Credit(account, "base", 10**9, NOTE), now_us=DAY_1_US)
        do(database, hold("req_1", account, key, 500), now_us=DAY_1_US + US_PER_S)
        do(database, post("req_1", 100), now_us=DAY_1_US + 2 * US_PER_S)
    credit, held, posted = any_operator.ok("account", "statement", account)["wallets"][0]["records"]
    nothing = dict.fromkeys(
        "rule input_tokens cached_tokens output_tokens alias key_id request_id leg note".split()
    )
    of_request = {"alias": "smart-route", "key_id": key, "request_id": "req_1", "leg": 0}
    common = {"wallet": "base"}

    def amounts(*usd: str) -> dict[str, str]:
        return dict(zip(USD, usd, strict=True))

    first = {"version": 1, "time": "2026-11-01T00:00:00Z", "kind": "credit", "note": NOTE}
    assert credit == {**nothing, **common, **first, **amounts("1.00", "0.00", "1.00", "0.00")}
    second = {"version": 2, "time": "2026-11-01T00:00:01Z", "kind": "hold", **of_request}
    moved = amounts("0.00", "0.00000051", "1.00", "0.00000051")
    assert held == {**nothing, **common, **second, **moved}
    billed = {"rule": "completed", "input_tokens": 10, "cached_tokens": 3, "output_tokens": 100}
    third = {"version": 3, "time": "2026-11-01T00:00:02Z", "kind": "post", **of_request, **billed}
    moved = amounts("-0.00000011", "-0.00000051", "0.99999989", "0.00")
    assert posted == {**nothing, **common, **third, **moved}


def test_the_table_for_people(any_operator: Operator) -> None:
    """Titles once, amounts one below the other by their point within a page; opening and closing balance."""
    account = any_operator.account()
    key = any_operator.ok("key", "mint", account)["key_id"]
    with store_of(any_operator) as database:
        append_credits(database, account, 1003)
        do(database, Credit(account, "base", 10**15), now_us=DAY_1_US)
        do(database, hold("req_1", account, key, 500), now_us=DAY_1_US)
    ended = any_operator.run("account", "statement", account)
    base, frontier = ended.out.split("\n\n")
    opening, titles, *lines, closing = base.splitlines()
    assert opening == "base wallet, opening balance: 0.00 USD, of which 0.00 USD are held"
    assert closing == "base wallet, closing balance: 1000000.000001003 USD, of which 0.00000051 USD are held"
    assert titles.split()[:3] == ["version", "time", "kind"]
    assert len(lines) == 1005
    assert [int(line.split()[0]) for line in lines] == list(range(1, 1006))
    for page in (lines[:1000], lines[1000:]):
        cells = [line.split() for line in page]
        assert (
            len(
                {line.index(cell[5], 60) + cell[5].index(".") for line, cell in zip(page, cells, strict=True)}
            )
            == 1
        )
    assert lines[-1].split()[3:] == [
        *("0.00", "0.00000051", "1000000.000001003", "0.00000051"),
        *("smart-route", key, "req_1", "0"),
    ]
    assert [line.split(":")[1].strip() for line in frontier.splitlines()] == [
        "0.00 USD, of which 0.00 USD are held"
    ] * 2


MEASURED = (
    "import sys; from llmdeal_litellm.cli.main import main; assert main(sys.argv[1:]) == 0; "
    "status = dict(line.split(':', 1) for line in open('/proc/self/status')); "
    "print(int(status['VmHWM'].split()[0]) // 1024, file=sys.stderr)"
)
MEMORY_GROWTH_MAX_MB = 12


@pytest.mark.parametrize("form", ["--csv", "--json", "--wallet=base"])
def test_a_long_statement_needs_no_memory(any_operator: Operator, form: str) -> None:
    """40,000 records take as much as 1,000, and are all there."""
    took: list[int] = []
    for count in (1_000, 40_000):
        account = any_operator.account()
        with store_of(any_operator) as database:
            append_credits(database, account, count)
        command = [sys.executable, "-c", MEASURED, "account", "statement", account, form]
        out = any_operator.folder / "statement"
        with out.open("wb") as file:
            done = subprocess.run(
                command, env=any_operator.environment(), stdout=file, stderr=subprocess.PIPE, check=True
            )
        took.append(int(done.stderr))
        assert out.read_text().count("of many") == count
        if form == "--json":
            check_sums(json.loads(out.read_text())["wallets"][0])
    assert took[1] - took[0] <= MEMORY_GROWTH_MAX_MB, took


def test_refusals(new_operator: Operator) -> None:
    """A sentence each, also where the output would have been CSV."""
    account = new_operator.account()
    statement = ("account", "statement")
    assert "there is no account 'acct_0'" in new_operator.refused(*statement, "acct_0")
    assert "--since is after --until" in new_operator.refused(
        *statement, account, "--since", "2026-11-02", "--until", "2026-11-01"
    )
    for wrong in ("2026-13-01", "yesterday", "2026-11-01T00:00:00"):
        assert "does not match the format" in new_operator.refused(*statement, account, "--since", wrong)
    assert "exclude each other" in new_operator.refused(*statement, account, "--csv")
    assert "is not one of 'base', 'frontier', 'all'" in new_operator.refused(
        *statement, account, "--wallet", "gold"
    )
    ended = new_operator.run(*statement, "acct_0", "--csv")
    assert (ended.code, ended.out) == (2, "")


def test_the_days_at_both_ends_of_the_calendar(any_operator: Operator) -> None:
    """No date that can be written is too early or too late."""
    account = any_operator.account(credit="5")
    asked = ("account", "statement", account, "--since", "0001-01-01", "--until", "9999-12-31")
    answer = any_operator.ok(*asked)
    assert (answer["since"], answer["until"]) == ("0001-01-01", "9999-12-31")
    assert len(records(answer)) == 1

"""`llmdeal ledger verify --watch`: a line a round, right while money moves, an end that a supervisor sees."""

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO, Any

import pytest
from processes import until

from llmdeal_litellm.ledger.database import Conflict, StoreBusy
from llmdeal_litellm.ledger.ops import Balance, Closed, Credit, Held, Op

from .books import do, hold, post, store_of
from .operator_command import Operator

END_PATIENCE_S = 60
ROUNDS = 8
SECONDS_A_DAY = "86400"
Halted = tuple["subprocess.Popen[str]", Callable[[], object]]


@contextmanager
def watching(operator: Operator, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """The command as a process, which is ended with the test."""
    process = operator.start("ledger", "verify", "--watch", *words)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def out_of(process: "subprocess.Popen[str]") -> IO[str]:
    """What it prints."""
    assert process.stdout is not None
    return process.stdout


def next_round(process: "subprocess.Popen[str]") -> Any:
    """The next line of --json."""
    return json.loads(out_of(process).readline())


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """How it ended, and what it had still to say."""
    out, err = process.communicate(timeout=END_PATIENCE_S)
    return process.returncode, out, err


class Moving(threading.Thread):
    """Holds and posts without a pause, over a connection of its own."""

    def __init__(self, operator: Operator, account: str, key: str, name: str) -> None:
        super().__init__(name=name)
        self._operator, self._account, self._key = operator, account, key
        self.enough = threading.Event()
        self.done = 0

    def run(self) -> None:
        """Until `enough`."""
        with store_of(self._operator) as database:

            def move(op: Op) -> object:
                while True:
                    try:
                        return do(database, op)
                    except (Conflict, StoreBusy):
                        continue

            for number in count():
                if self.enough.is_set():
                    return
                request = f"req_{self.name}_{number}"
                assert isinstance(move(hold(request, self._account, self._key, 50)), Held)
                assert isinstance(move(post(request, 20)), Closed)
                self.done += 1


def test_right_while_money_moves(any_operator: Operator) -> None:
    """Three writers, two of them on one wallet: every round is right, and sees more than the one before."""
    shared, own = any_operator.account(credit="100"), any_operator.account(credit="100")
    keys = {account: any_operator.ok("key", "mint", account)["key_id"] for account in (shared, own)}
    moving = [
        Moving(any_operator, account, keys[account], f"m{n}")
        for n, account in enumerate((shared, shared, own))
    ]
    for thread in moving:
        thread.start()
    try:
        with watching(any_operator, "--every", "0", "--json") as process:
            rounds = [next_round(process) for _ in range(ROUNDS)]
            until(
                lambda: rounds.append(next_round(process)) or all(thread.done > ROUNDS for thread in moving),
                patience_s=END_PATIENCE_S,
                what="every writer to move money while it watches",
            )
            process.send_signal(signal.SIGTERM)
            code, rest, err = ended(process)
    finally:
        for thread in moving:
            thread.enough.set()
        for thread in moving:
            thread.join()
    rounds += [json.loads(line) for line in rest.splitlines()]
    assert (code, err) == (0, "")
    assert [(r["ok"], r["failed"], r["accounts"]) for r in rounds] == [(True, [], 2)] * len(rounds)
    assert [set(r) for r in rounds] == [{"time", "ok", "accounts", "records", "seconds", "failed"}] * len(
        rounds
    )
    seen = [r["records"] for r in rounds]
    assert seen == sorted(seen)
    assert seen[0] < seen[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_while_it_waits(new_operator: Operator, number: signal.Signals) -> None:
    """At once, with exit code 0; the line of the round was there as soon as the round was over."""
    new_operator.account(credit="5")
    with watching(new_operator, "--every", SECONDS_A_DAY) as process:
        line = out_of(process).readline().split()
        process.send_signal(number)
        assert ended(process) == (0, "", "")
    assert line[1:6] == ["right", "1", "accounts", "1", "records"]
    assert line[7:] == ["s"]


@pytest.fixture
def halted(postgres_database: str, tmp_path: Path) -> Iterator[Halted]:
    """A watch that cannot go on in the middle of its first round, and what lets it."""
    operator = Operator(
        tmp_path, {"LLMDEAL_DATABASE_URL": postgres_database, "LLMDEAL_DATA_DIR": str(tmp_path)}
    )
    operator.ok("migrate")
    operator.account(credit="5")
    waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with store_of(operator) as database, store_of(operator) as other:
        database.run("BEGIN")
        database.run("LOCK TABLE house_entries IN ACCESS EXCLUSIVE MODE")
        with watching(operator, "--every", "0", "--json") as process:
            until(lambda: other.rows(waits), patience_s=END_PATIENCE_S, what="the watch to be in a round")
            yield process, lambda: database.run("COMMIT")


def test_it_ends_cleanly_in_the_middle_of_a_round(
    halted: Halted,
) -> None:
    """With the account that it is at: the round is not finished, and has no line."""
    process, let_it = halted
    process.send_signal(signal.SIGTERM)
    let_it()
    assert ended(process) == (0, "", "")


def test_a_second_signal_does_not_wait_for_the_account(
    halted: Halted,
) -> None:
    """It ends the process as any other; it only reads."""
    process, _ = halted

    for _ in range(20):
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)  # PostgreSQL's client looks for signals every 0.1 s
            break
    assert ended(process) == (-signal.SIGTERM, "", "")


def break_books(operator: Operator) -> None:
    """A nano-USD from nowhere."""
    with store_of(operator) as database, database.write():
        assert database.run("UPDATE wallets SET balance = balance + 1 WHERE wallet = 'base'") == 1


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
def test_a_problem_ends_it(any_operator: Operator, as_json: bool) -> None:
    """Exit code 1 without waiting for anything, and what is wrong was printed."""
    account = any_operator.account(credit="5")
    with watching(any_operator, "--every", "0.05", *(["--json"] if as_json else [])) as process:
        out_of(process).readline()
        break_books(any_operator)
        code, rest, err = ended(process)
    assert (code, err) == (1, "")
    if as_json:
        last = json.loads(rest.splitlines()[-1])
        assert last["ok"] is False
        assert [check["name"] for check in last["failed"]] == ["balances"]
        assert account in last["failed"][0]["problems"][0]
    else:
        assert "  WRONG  1 accounts  1 records  " in rest
        assert account in rest
        assert rest.splitlines()[-1].startswith("The ledger is wrong")


def test_it_begins_with_a_problem(any_operator: Operator) -> None:
    """One round is enough, however long the pause would be."""
    any_operator.account(credit="5")
    break_books(any_operator)
    found = any_operator.run("ledger", "verify", "--watch", "--every", SECONDS_A_DAY, "--json")
    assert (found.code, found.json["ok"]) == (1, False)


def test_a_store_that_goes_away_ends_it(new_operator: Operator) -> None:
    """Exit code 3 and a sentence: whoever supervises it tries again."""
    new_operator.account(credit="5")
    with watching(new_operator, "--every", "0.05", "--json") as process:
        assert next_round(process)["ok"] is True
        new_operator.database.write_text("this is not a database" * 100)
        code, _, err = ended(process)
    assert code == 3
    assert err.startswith("llmdeal: the database cannot be used: ")


def test_leases_are_by_the_database_clock(any_operator: Operator) -> None:
    """A hold that is open past its lease is found, one within its lease is not."""
    account = any_operator.account(credit="5")
    key = any_operator.ok("key", "mint", account)["key_id"]
    with store_of(any_operator) as database:
        assert isinstance(do(database, hold("req_1", account, key, 50)), Held)
        assert any_operator.ok("ledger", "verify")["ok"] is True
        long_ago_us = database.now_us() - 3600 * 1_000_000
        with database.write():
            database.run("UPDATE open_holds SET lease_until_us = ?", (long_ago_us,))
        found = any_operator.run("ledger", "verify", "--json")
        assert [check["name"] for check in found.json["checks"] if not check["ok"]] == ["leases"]


def test_every_is_for_watch(new_operator: Operator) -> None:
    """Otherwise somebody believes that it watches."""
    assert "--every is for --watch" in new_operator.refused("ledger", "verify", "--every", "5")
    assert "not in the range" in new_operator.refused("ledger", "verify", "--watch", "--every", "-1")


def test_several_watches_at_once(any_operator: Operator) -> None:
    """They do not hinder each other, nor a credit between their rounds."""
    account = any_operator.account(credit="5")
    with (
        watching(any_operator, "--every", "0", "--json") as one,
        watching(any_operator, "--every", "0", "--json") as two,
    ):
        assert next_round(one)["records"] == next_round(two)["records"] == 1
        with store_of(any_operator) as database:
            assert isinstance(do(database, Credit(account, "base", 1)), Balance)
        for process in (one, two):
            until(lambda watch=process: next_round(watch)["records"] == 2, what="a round with the credit")
            process.send_signal(signal.SIGTERM)
            assert ended(process)[0] == 0

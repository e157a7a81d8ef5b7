"""`llmdeal ledger`: whether the books are right, once or again and again."""

import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Self

import click

from llmdeal_litellm.cli.commands import EXIT_FOUND_PROBLEMS, OperatorGroup
from llmdeal_litellm.cli.rendering import print_json, time_text
from llmdeal_litellm.cli.store import now_us, open_store
from llmdeal_litellm.ledger.verify import Check, verify

PROGRESS_EVERY_S = 2.0
WATCH_EVERY_S = 60.0
EVERY_MAX_S = 86_400.0
RECORDS_CHECK = "chain"
"""The check that looks at each record once."""


@click.group(cls=OperatorGroup)
def ledger() -> None:
    """Check the ledger.

    \b
    Example:
      llmdeal ledger verify
    """


@ledger.command("verify")
@click.option("--watch", is_flag=True, help="Check again and again until interrupted, a line for each round.")
@click.option(
    "--every",
    type=click.FloatRange(0, EVERY_MAX_S),
    metavar="SECONDS",
    help=f"How long --watch waits after a round. Default: {WATCH_EVERY_S:.0f}.",
)
@click.pass_context
def verify_ledger(context: click.Context, watch: bool, every: float | None, as_json: bool) -> None:
    """Check every account's records, balances, holds and keys; the gateway may be running.

    One line is printed for each check, and what is wrong below it with amounts in nano-USD (1e-9 USD).
    The exit code is 1 when any check fails.

    With --watch it is checked until Ctrl-C or SIGTERM, which end it with exit code 0; the first round that
    finds a problem prints it and ends with 1. With --json, too, each round is one line.

    \b
    Example:
      llmdeal ledger verify --json
      llmdeal ledger verify --watch --every 300
    """
    if every is not None and not watch:
        raise click.UsageError("--every is for --watch.", context)
    if watch:
        ok = _watch(WATCH_EVERY_S if every is None else every, as_json)
    else:
        round_ = _round(Progress())
        ok = round_.ok
        if as_json:
            print_json({"ok": ok, "checks": [asdict(check) for check in round_.checks]})
        else:
            _print(round_)
    if not ok:
        context.exit(EXIT_FOUND_PROBLEMS)


@dataclass(frozen=True, slots=True)
class Round:
    """One check of the whole ledger. `began_us` is by this machine's clock."""

    checks: list[Check]
    accounts: int
    began_us: int
    took_s: float

    @property
    def ok(self) -> bool:
        """Whether everything is right."""
        return all(check.ok for check in self.checks)

    @property
    def records(self) -> int:
        """How many records were looked at."""
        return next(check.looked_at for check in self.checks if check.name == RECORDS_CHECK)


class Progress:
    """Says on stderr how far a long check is, at most every two seconds."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._said_at >= PROGRESS_EVERY_S:
            self._said_at = time.monotonic()
            click.echo(f"{done} of {total} accounts checked", err=True)


def _round(progress: Callable[[int, int], None]) -> Round:
    """Check once, over a connection of its own: between two rounds of a watch there is none to break."""
    accounts = 0

    def counted(done: int, total: int) -> None:
        nonlocal accounts
        accounts = total
        progress(done, total)

    began_us, began_s = now_us(), time.monotonic()
    with open_store() as database:
        # Leases are by the database's clock: this machine's may be another.
        checks = verify(database, now_us=database.now_us(), progress=counted)
    return Round(checks, accounts, began_us, time.monotonic() - began_s)


class _Interrupted(Exception):
    """The watch was asked to end."""


class _Ending:
    """Ctrl-C and SIGTERM as a request to end a watch: between two accounts, and at once while it waits.

    A second signal ends the process as it would any other, should an account take long.
    """

    def __init__(self) -> None:
        self._asked = self._waiting = False
        self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def __enter__(self) -> Self:
        for number in self._before:
            signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True
        self.__exit__()
        if self._waiting:
            raise _Interrupted

    def check(self) -> None:
        """Raises _Interrupted when it was asked for."""
        if self._asked:
            raise _Interrupted

    def wait(self, seconds: float) -> None:
        """Raises _Interrupted when it is asked for meanwhile."""
        self._waiting = True
        self.check()  # a signal before the line above did not raise, one from here on does
        time.sleep(seconds)  # between two looks; a signal ends it
        self._waiting = False


def _watch(every_s: float, as_json: bool) -> bool:
    """Check until interrupted, or until something is wrong; returns whether nothing was."""
    try:
        with _Ending() as ending:
            while True:
                round_ = _round(lambda _done, _total: ending.check())
                _print_round(round_, as_json)
                if not round_.ok:
                    return False
                ending.wait(every_s)
    except _Interrupted:
        return True


def _print_round(round_: Round, as_json: bool) -> None:
    failed = [check for check in round_.checks if not check.ok]
    if as_json:
        print_json(
            {
                "time": time_text(round_.began_us),
                "ok": round_.ok,
                "accounts": round_.accounts,
                "records": round_.records,
                "seconds": round(round_.took_s, 3),
                "failed": [asdict(check) for check in failed],
            }
        )
        return
    click.echo(
        f"{time_text(round_.began_us)}  {'right' if round_.ok else 'WRONG'}  {round_.accounts} accounts  "
        f"{round_.records} records  {round_.took_s:.2f} s"
    )
    if failed:
        _print(round_)


def _print(round_: Round) -> None:
    width = max(len(check.name) for check in round_.checks)
    for check in round_.checks:
        click.echo(
            f"{check.name.ljust(width)}  {'ok    ' if check.ok else 'FAILED'}  {check.looked_at} looked at"
        )
        for problem in check.problems:
            click.echo(f"  {problem}")
    click.echo(
        "The ledger is right."
        if round_.ok
        else "The ledger is wrong: keep a copy of the database and look at the above."
    )

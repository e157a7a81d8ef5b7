"""`llmdeal ledger`: whether the books are right."""

import time
from dataclasses import asdict

import click

from llmdeal_litellm.cli.commands import EXIT_FOUND_PROBLEMS, OperatorGroup
from llmdeal_litellm.cli.rendering import print_json
from llmdeal_litellm.cli.store import now_us, open_store
from llmdeal_litellm.ledger.verify import Check, verify

PROGRESS_EVERY_S = 2.0


@click.group(cls=OperatorGroup)
def ledger() -> None:
    """Check the ledger.

    \b
    Example:
      llmdeal ledger verify
    """


@ledger.command("verify")
@click.pass_context
def verify_ledger(context: click.Context, as_json: bool) -> None:
    """Check every account's records, balances, holds and keys; the gateway may be running.

    One line is printed for each check, and what is wrong below it with amounts in nano-USD (1e-9 USD).
    The exit code is 1 when any check fails.

    \b
    Example:
      llmdeal ledger verify --json
    """
    with open_store() as connection:
        checks = verify(connection, now_us=now_us(), progress=Progress())
    ok = all(check.ok for check in checks)
    if as_json:
        print_json({"ok": ok, "checks": [asdict(check) for check in checks]})
    else:
        _print(checks, ok)
    if not ok:
        context.exit(EXIT_FOUND_PROBLEMS)


class Progress:
    """Says on stderr how far a long check is, at most every two seconds."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._said_at >= PROGRESS_EVERY_S:
            self._said_at = time.monotonic()
            click.echo(f"{done} of {total} accounts checked", err=True)


def _print(checks: list[Check], ok: bool) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        click.echo(
            f"{check.name.ljust(width)}  {'ok    ' if check.ok else 'FAILED'}  {check.looked_at} looked at"
        )
        for problem in check.problems:
            click.echo(f"  {problem}")
    click.echo(
        "The ledger is right."
        if ok
        else "The ledger is wrong: keep a copy of the database and look at the above."
    )

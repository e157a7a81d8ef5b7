"""`llmdeal account statement`: every record of an account's wallets, printed page by page as it is read."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

import click

from llmdeal_litellm.accounts.statements import Standing, Statement, pages, statements
from llmdeal_litellm.catalog.model import Wallet
from llmdeal_litellm.cli.commands import WORDS, OperatorCommand
from llmdeal_litellm.cli.rendering import Table, View, time_text
from llmdeal_litellm.cli.store import open_store
from llmdeal_litellm.ledger.database import Database
from llmdeal_litellm.ledger.rows import US_PER_DAY, US_PER_S, Record
from llmdeal_litellm.money import usd_text

ALL_WALLETS = "all"
DAY = click.DateTime(["%Y-%m-%d"])
COLUMNS = (
    "wallet",
    "version",
    "time",
    "kind",
    "balance_change_usd",
    "held_change_usd",
    "balance_usd",
    "held_usd",
    "rule",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "alias",
    "key_id",
    "request_id",
    "leg",
    "note",
)
Printer = Callable[[Database, Sequence[Statement], View], None]


@click.command(cls=OperatorCommand)
@click.argument("account_id", type=WORDS)
@click.option(
    "--wallet",
    type=click.Choice([*(wallet.value for wallet in Wallet), ALL_WALLETS]),
    default=ALL_WALLETS,
    show_default=True,
    help="The base balance, the Frontier Credits, or one after the other.",
)
@click.option("--since", type=DAY, metavar="DATE", help="Begin with this UTC day, such as 2026-11-01.")
@click.option("--until", type=DAY, metavar="DATE", help="End with the end of this UTC day.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a header line.")
def statement(
    account_id: str,
    wallet: str,
    since: datetime | None,
    until: datetime | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Print every record of an account with the running balance.

    Each wallet begins with its opening balance. Tokens are those that were billed. What is held is a part
    of the balance that open requests keep.

    \b
    Example:
      llmdeal account statement acct_0123456789abcdef --since 2026-11-01
      llmdeal account statement acct_0123456789abcdef --csv > statement.csv
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other.", click.get_current_context())
    if since is not None and until is not None and since > until:
        raise click.UsageError("--since is after --until.", click.get_current_context())
    since_us = None if since is None else midnight_us(since)
    until_us = None if until is None else midnight_us(until) + US_PER_DAY
    wallets = list(Wallet) if wallet == ALL_WALLETS else [Wallet(wallet)]
    period = {
        "account_id": account_id,
        "since": None if since is None else since.date().isoformat(),
        "until": None if until is None else until.date().isoformat(),
    }
    printer: Printer = _print_csv if as_csv else _print_json if as_json else _print_tables
    with open_store() as database:
        found = statements(database, account_id, wallets, since_us=since_us, until_us=until_us)
        printer(database, found, period)


def midnight_us(day: datetime) -> int:
    """When a UTC day begins."""
    return int(day.replace(tzinfo=UTC).timestamp()) * US_PER_S


def _record_view(record: Record) -> View:
    # A hold's record has the tokens that it reserves: they are not billed.
    billed = record.kind == "post"
    return {
        "wallet": record.wallet,
        "version": record.version,
        "time": time_text(record.at_us),
        "kind": record.kind,
        "balance_change_usd": usd_text(record.balance_change),
        "held_change_usd": usd_text(record.held_change),
        "balance_usd": usd_text(record.balance_after),
        "held_usd": usd_text(record.held_after),
        "rule": record.rule,
        "input_tokens": record.input_tokens if billed else None,
        "cached_tokens": record.cached_tokens if billed else None,
        "output_tokens": record.output_tokens if billed else None,
        "alias": record.alias,
        "key_id": record.key_id,
        "request_id": record.request_id,
        "leg": record.leg,
        "note": record.note or None,
    }


def _standing_view(standing: Standing) -> View:
    return {
        "version": standing.version,
        "balance_usd": usd_text(standing.balance),
        "held_usd": usd_text(standing.held),
    }


def _print_json(database: Database, found: Sequence[Statement], period: View) -> None:
    """One document, in pieces."""
    click.echo(open_json(period, "wallets"), nl=False)
    for number, one in enumerate(found):
        opened = {"wallet": one.wallet.value, "opening": _standing_view(one.opening)}
        click.echo((", " if number else "") + open_json(opened, "records"), nl=False)
        for turn, page in enumerate(pages(database, one)):
            texts = ", ".join(json.dumps(_record_view(record)) for record in page)
            click.echo((", " if turn else "") + texts, nl=False)
        click.echo(f'], "closing": {json.dumps(_standing_view(one.closing))}}}', nl=False)
    click.echo("]}")


def open_json(view: View, name: str) -> str:
    """An object with a list of this name at its end, up to the list's first item."""
    return f'{json.dumps(view)[:-1]}, "{name}": ['


def _print_csv(database: Database, found: Sequence[Statement], _: View) -> None:
    click.echo(csv_text([COLUMNS]), nl=False)
    for one in found:
        opening = {"wallet": one.wallet.value, "kind": "opening", **_standing_view(one.opening)}
        click.echo(csv_text([[opening.get(name) for name in COLUMNS]]), nl=False)
        for page in pages(database, one):
            views = map(_record_view, page)
            click.echo(csv_text([view[name] for name in COLUMNS] for view in views), nl=False)


def csv_text(lines: Iterable[Iterable[object]]) -> str:
    """Lines as RFC 4180 has them."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(lines)
    return out.getvalue()


def _print_tables(database: Database, found: Sequence[Statement], _: View) -> None:
    for number, one in enumerate(found):
        if number:
            click.echo()
        click.echo(_standing_line(one, "opening", one.opening))
        table = Table(COLUMNS[1:])
        for page in pages(database, one):
            table.print([_with_gaps(_record_view(record)) for record in page])
        click.echo(_standing_line(one, "closing", one.closing))


def _standing_line(one: Statement, which: str, standing: Standing) -> str:
    balance, held = usd_text(standing.balance), usd_text(standing.held)
    return f"{one.wallet.value} wallet, {which} balance: {balance} USD, of which {held} USD are held"


def _with_gaps(view: View) -> View:
    """Empty where there is no value: most columns are about one kind of record only."""
    return {name: "" if value is None else value for name, value in view.items()}

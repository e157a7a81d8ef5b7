"""`llmdeal partner statement`: what a partner's machine earned, entry by entry, printed as it is read."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import click

from llmdeal_litellm.accounts.partner_statements import (
    PartnerEntry,
    PartnerStatement,
    partner_pages,
    partner_statement,
)
from llmdeal_litellm.cli.commands import WORDS, OperatorCommand
from llmdeal_litellm.cli.rendering import Table, View, time_text
from llmdeal_litellm.cli.statement import DAY, csv_text, midnight_us, open_json
from llmdeal_litellm.cli.store import open_store
from llmdeal_litellm.ledger.database import Database
from llmdeal_litellm.ledger.rows import US_PER_DAY
from llmdeal_litellm.money import share_text, usd_text

COLUMNS = (
    "time",
    "kind",
    "input_tokens",
    "output_tokens",
    "charged_usd",
    "share_percent",
    "payable_change_usd",
    "payable_usd",
    "rule",
    "alias",
    "request_id",
    "leg",
)
Printer = Callable[[Database, PartnerStatement, View], None]


@dataclass(slots=True)
class Totals:
    """Sums of the entries of a statement."""

    charges: int = 0
    refunds: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    charged: int = 0
    payable: int = 0

    def add(self, entry: PartnerEntry) -> None:
        """Take an entry in."""
        self.refunds += entry.is_refund
        self.charges += not entry.is_refund
        self.input_tokens += entry.input_tokens or 0
        self.output_tokens += entry.output_tokens or 0
        self.charged += entry.charged
        self.payable += entry.payable_change

    def view(self) -> View:
        """As JSON."""
        return {
            "charges": self.charges,
            "refunds": self.refunds,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "charged_usd": usd_text(self.charged),
            "payable_change_usd": usd_text(self.payable),
            "revenue_usd": usd_text(self.charged - self.payable),
        }


@click.command(cls=OperatorCommand)
@click.argument("name", type=WORDS)
@click.option("--since", type=DAY, metavar="DATE", help="Begin with this UTC day, such as 2026-11-01.")
@click.option("--until", type=DAY, metavar="DATE", help="End with the end of this UTC day.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a header line.")
def statement(name: str, since: datetime | None, until: datetime | None, as_csv: bool, as_json: bool) -> None:
    """Print every charge that a partner has a share of, refunds too, with what he is owed.

    Tokens are those that were billed. A refund takes back the share of the charge that it gives back.

    \b
    Example:
      llmdeal partner statement gpu-1 --since 2026-11-01
      llmdeal partner statement gpu-1 --csv > statement.csv
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other.", click.get_current_context())
    if since is not None and until is not None and since > until:
        raise click.UsageError("--since is after --until.", click.get_current_context())
    printer: Printer = _print_csv if as_csv else _print_json if as_json else _print_table
    with open_store() as database:
        found = partner_statement(
            database,
            name,
            since_us=0 if since is None else midnight_us(since),
            until_us=None if until is None else midnight_us(until) + US_PER_DAY,
        )
        period = {
            "partner": found.partner.name,
            "id": found.partner.id,
            "since": None if since is None else since.date().isoformat(),
            "until": None if until is None else until.date().isoformat(),
            "opening_payable_usd": usd_text(found.opening),
        }
        printer(database, found, period)


def _entry_view(entry: PartnerEntry) -> View:
    return {
        "time": time_text(entry.at_us),
        "kind": "refund" if entry.is_refund else "charge",
        "input_tokens": entry.input_tokens,
        "output_tokens": entry.output_tokens,
        "charged_usd": usd_text(entry.charged),
        "share_percent": share_text(entry.share),
        "payable_change_usd": usd_text(entry.payable_change),
        "payable_usd": usd_text(entry.payable_after),
        "rule": entry.rule,
        "alias": entry.alias,
        "request_id": entry.request_id,
        "leg": entry.leg,
    }


def _print_json(database: Database, found: PartnerStatement, period: View) -> None:
    totals = Totals()
    click.echo(open_json(period, "entries"), nl=False)
    for turn, page in enumerate(partner_pages(database, found)):
        for entry in page:
            totals.add(entry)
        texts = ", ".join(json.dumps(_entry_view(entry)) for entry in page)
        click.echo((", " if turn else "") + texts, nl=False)
    closing = {"totals": totals.view(), "closing_payable_usd": usd_text(found.opening + totals.payable)}
    click.echo(f"], {json.dumps(closing)[1:]}")


def _print_csv(database: Database, found: PartnerStatement, _: View) -> None:
    click.echo(csv_text([COLUMNS]), nl=False)
    opening = {"kind": "opening", "payable_usd": usd_text(found.opening)}
    click.echo(csv_text([[opening.get(name) for name in COLUMNS]]), nl=False)
    totals = Totals()
    for page in partner_pages(database, found):
        for entry in page:
            totals.add(entry)
        views = map(_entry_view, page)
        click.echo(csv_text([view[name] for name in COLUMNS] for view in views), nl=False)
    closing: dict[str, object] = {
        **totals.view(),
        "kind": "total",
        "payable_usd": usd_text(found.opening + totals.payable),
    }
    click.echo(csv_text([[closing.get(name) for name in COLUMNS]]), nl=False)


def _print_table(database: Database, found: PartnerStatement, _: View) -> None:
    name, totals = found.partner.name, Totals()
    click.echo(f"{name} ({found.partner.id}), owed before: {usd_text(found.opening)} USD")
    table = Table(COLUMNS)
    for page in partner_pages(database, found):
        for entry in page:
            totals.add(entry)
        table.print([{n: "" if v is None else v for n, v in _entry_view(e).items()} for e in page])
    charged, shared, ours = totals.charged, totals.payable, totals.charged - totals.payable
    click.echo(
        f"{totals.charges} charges, {totals.refunds} refunds, {usd_text(charged)} USD charged, of which "
        f"{usd_text(shared)} USD are {name}'s and {usd_text(ours)} USD ours"
    )
    click.echo(f"{name} is owed {usd_text(found.opening + totals.payable)} USD")

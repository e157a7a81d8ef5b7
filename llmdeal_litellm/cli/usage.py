"""`llmdeal usage`: what accounts were charged, by alias."""

import click

from llmdeal_litellm.cli.commands import WORDS, OperatorCommand
from llmdeal_litellm.cli.rendering import print_json, print_table, usage_view
from llmdeal_litellm.cli.store import now_us, open_admin
from llmdeal_litellm.ledger.rows import US_PER_DAY
from llmdeal_litellm.money import usd_text

DAYS_MAX = 36_500
COLUMNS = ("account_id", "alias", "requests", "input_tokens", "output_tokens", "charged_usd")


@click.command(cls=OperatorCommand)
@click.argument("account_id", type=WORDS, required=False)
@click.option(
    "--days", type=click.IntRange(1, DAYS_MAX), help="Only the last N times 24 hours. Default: everything."
)
def usage(account_id: str | None, days: int | None, as_json: bool) -> None:
    """Show what one account or all were charged, by alias.

    Only requests that were charged count; one that was given back costs nothing and is not here.

    \b
    Example:
      llmdeal usage acct_0123456789abcdef --days 30
    """
    since = 0 if days is None else now_us() - days * US_PER_DAY
    with open_admin() as admin:
        if account_id is not None:
            admin.account(account_id)
        found = admin.usage(account_id, since_us=since)
    total = usd_text(sum(row.charged for row in found))
    views = [usage_view(row) for row in found]
    if as_json:
        print_json({"days": days, "usage": views, "charged_usd": total})
        return
    print_table(views, COLUMNS, empty="No charged requests.")
    if len(views) > 1:
        click.echo(f"Charged in all: {total} USD")

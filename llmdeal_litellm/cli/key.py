"""`llmdeal key`: what customers call the gateway with."""

import os

import click

from llmdeal_litellm.accounts.admin import Caps, Span
from llmdeal_litellm.cli.account import AMOUNT_SETTINGS
from llmdeal_litellm.cli.commands import WORDS, OperatorGroup
from llmdeal_litellm.cli.rendering import key_view, print_json, print_one, print_table
from llmdeal_litellm.cli.store import announced_admin, now_us, open_admin
from llmdeal_litellm.money import parse_usd

LIST_COLUMNS = (
    "key_id",
    "account_id",
    "revoked",
    "cap_usd",
    "spent_usd",
    "held_usd",
    "day_cap_usd",
    "month_cap_usd",
    "created_at",
)
NO_CAP = "none"


@click.group(cls=OperatorGroup)
def key() -> None:
    """Mint, cap and revoke the keys of accounts.

    \b
    Example:
      llmdeal key mint acct_0123456789abcdef
    """


@key.command(context_settings=AMOUNT_SETTINGS)
@click.argument("account_id", type=WORDS)
@click.option(
    "--cap", type=WORDS, metavar="USD", help="The most that the key may ever spend. Default: no cap."
)
@click.option("--cap-day", type=WORDS, metavar="USD", help="The most in a UTC day.")
@click.option("--cap-month", type=WORDS, metavar="USD", help="The most in a UTC month.")
def mint(account_id: str, cap: str | None, cap_day: str | None, cap_month: str | None, as_json: bool) -> None:
    """Make a key and print it; this is the only time that it is shown.

    \b
    Example:
      llmdeal key mint acct_0123456789abcdef --cap 50 --cap-day 5
    """
    caps = Caps(*(None if usd is None else parse_usd(usd) for usd in (cap, cap_day, cap_month)))
    with open_admin() as admin:
        made, text = admin.mint_key(account_id, caps=caps, random_24_bytes=os.urandom(24), now_us=now_us())
    print_one({"key": text, **key_view(made, now_us())}, as_json=as_json)
    if not as_json:
        click.echo("Keep the key now: it is not stored and cannot be shown again.", err=True)


@key.command("list")
@click.argument("account_id", type=WORDS, required=False)
def list_keys(account_id: str | None, as_json: bool) -> None:
    """List the keys of one account or of all, revoked ones too, oldest first.

    \b
    Example:
      llmdeal key list acct_0123456789abcdef
    """
    with open_admin() as admin:
        if account_id is not None:
            admin.account(account_id)
        views = [key_view(found, now_us()) for found in admin.keys(account_id)]
    if as_json:
        print_json({"keys": views})
    else:
        print_table(views, LIST_COLUMNS, empty="No keys yet; make one with: llmdeal key mint ACCOUNT_ID")


@key.command("cap", context_settings=AMOUNT_SETTINGS)
@click.argument("key_id", type=WORDS)
@click.argument("usd", type=WORDS, metavar="USD|none")
@click.option(
    "--per",
    type=click.Choice(["life", "day", "month"]),
    default="life",
    show_default=True,
    help="What the cap is for: all that the key ever spends, a UTC day, or a UTC month.",
)
def set_cap(key_id: str, usd: str, per: str, as_json: bool) -> None:
    """Set the most that a key may spend, or 'none' to lift the cap.

    What the key has already spent counts.

    \b
    Example:
      llmdeal key cap key_0123456789abcdef 12.50
      llmdeal key cap key_0123456789abcdef 2 --per day
      llmdeal key cap key_0123456789abcdef none
    """
    limit = None if usd == NO_CAP else parse_usd(usd)
    with announced_admin() as admin:
        changed = admin.set_cap(key_id, limit, per=Span(per))
    print_one(key_view(changed, now_us()), as_json=as_json)


@key.command()
@click.argument("key_id", type=WORDS)
def revoke(key_id: str, as_json: bool) -> None:
    """Revoke a key for good; a running gateway refuses it within a second.

    \b
    Example:
      llmdeal key revoke key_0123456789abcdef
    """
    with announced_admin() as admin:
        revoked = admin.revoke_key(key_id, now_us=now_us())
    print_one(key_view(revoked, now_us()), as_json=as_json)

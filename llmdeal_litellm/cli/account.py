"""`llmdeal account`: customers, what they may call, and their money."""

import os
from collections.abc import Callable

import click

from llmdeal_litellm.accounts import refunds
from llmdeal_litellm.accounts.admin import Admin
from llmdeal_litellm.catalog.model import Wallet
from llmdeal_litellm.cli.commands import WORDS, OperatorGroup
from llmdeal_litellm.cli.rendering import account_view, print_json, print_one, print_table
from llmdeal_litellm.cli.statement import statement
from llmdeal_litellm.cli.store import announced_admin, now_us, open_admin, open_store, settings
from llmdeal_litellm.cli.tiers import check_tier
from llmdeal_litellm.money import NotAnAmount, parse_usd, usd_text

AMOUNT_SETTINGS = {"ignore_unknown_options": True}
"""So that an amount with a minus sign is read as an amount, and refused as one."""

LIST_COLUMNS = (
    "id",
    "tier",
    "frontier_addon",
    "frozen",
    "keys",
    "balance_usd",
    "held_usd",
    "available_usd",
    "frontier_usd",
    "name",
)

wallet_option = click.option(
    "--wallet",
    type=click.Choice([wallet.value for wallet in Wallet]),
    default=Wallet.BASE.value,
    show_default=True,
    help="The base balance, or the Frontier Credits.",
)
note_option = click.option("--note", type=WORDS, help="Kept in the ledger's record, for you.")


@click.group(cls=OperatorGroup)
def account() -> None:
    """Create accounts, move their money and set what they may call.

    \b
    Example:
      llmdeal account create --name Ada --tier pro
    """


account.add_command(statement)


@account.command()
@click.option("--name", type=WORDS, required=True, help="How you call the customer.")
@click.option("--tier", type=WORDS, required=True, help="One of the tiers in the config file.")
def create(name: str, tier: str, as_json: bool) -> None:
    """Create an account with two empty wallets.

    \b
    Example:
      llmdeal account create --name "Ada Lovelace" --tier pro
    """
    said = settings()
    check_tier(tier, said.config_path)
    with open_admin(said) as admin:
        made = admin.create_account(name, tier, random_8_bytes=os.urandom(8), now_us=now_us())
        print_one(account_view(admin.account(made)), as_json=as_json)


@account.command("list")
def list_accounts(as_json: bool) -> None:
    """List all accounts, oldest first.

    \b
    Example:
      llmdeal account list
    """
    with open_admin() as admin:
        views = [account_view(found) for found in admin.accounts()]
    if as_json:
        print_json({"accounts": views})
    else:
        print_table(views, LIST_COLUMNS, empty="No accounts yet; make one with: llmdeal account create")


@account.command()
@click.argument("account_id", type=WORDS)
def show(account_id: str, as_json: bool) -> None:
    """Show one account with both wallets.

    Available is the balance less what open requests hold.

    \b
    Example:
      llmdeal account show acct_0123456789abcdef
    """
    with open_admin() as admin:
        print_one(account_view(admin.account(account_id)), as_json=as_json)


@account.command(context_settings=AMOUNT_SETTINGS)
@click.argument("account_id", type=WORDS)
@click.argument("usd", type=WORDS)
@wallet_option
@note_option
def credit(account_id: str, usd: str, wallet: str, note: str | None, as_json: bool) -> None:
    """Add money to an account.

    \b
    Example:
      llmdeal account credit acct_0123456789abcdef 25 --note "invoice 7"
      llmdeal account credit acct_0123456789abcdef 10.50 --wallet frontier
    """
    amount = amount_above_0(usd)
    with open_admin() as admin:
        admin.credit(account_id, Wallet(wallet), amount, note=note or "", now_us=now_us())
        moved = {"wallet": wallet, "credited_usd": usd_text(amount)}
        print_one({**account_view(admin.account(account_id)), **moved}, as_json=as_json)


@account.command(context_settings=AMOUNT_SETTINGS)
@click.argument("account_id", type=WORDS)
@click.argument("usd", type=WORDS)
@wallet_option
@note_option
def dispute(account_id: str, usd: str, wallet: str, note: str | None, as_json: bool) -> None:
    """Take back a payment that the customer's bank has reversed, and freeze the account.

    What is available is taken from the wallet; the rest is booked as a loss of the house.

    \b
    Example:
      llmdeal account dispute acct_0123456789abcdef 25 --note "chargeback 7"
    """
    amount = amount_above_0(usd)
    with announced_admin() as admin:
        admin.dispute(account_id, Wallet(wallet), amount, note=note or "", now_us=now_us())
        view = account_view(admin.account(account_id))
    print_one({**view, "wallet": wallet, "disputed_usd": usd_text(amount)}, as_json=as_json)


@account.command()
@click.argument("request_id", type=WORDS)
@note_option
def refund(request_id: str, note: str | None, as_json: bool) -> None:
    """Give back what a request was charged, once.

    A partner who served it loses his share of it. What the key has spent stays spent. The request's id is
    in the x-llmdeal-request-id header of its answer and in the account's statement.

    \b
    Example:
      llmdeal account refund req_0123456789abcdef01234567 --note "ticket 7"
    """
    with open_store() as database:
        given = refunds.refund(database, request_id, note=note or "", now_us=now_us())
    view = {
        "request_id": request_id,
        "account_id": given.account_id,
        "refunded_usd": usd_text(given.amount),
        "from_partner_usd": usd_text(given.from_partners),
    }
    print_one(view, as_json=as_json)


@account.command("tier")
@click.argument("account_id", type=WORDS)
@click.argument("tier", type=WORDS)
def set_tier(account_id: str, tier: str, as_json: bool) -> None:
    """Move an account to another tier of the config file.

    \b
    Example:
      llmdeal account tier acct_0123456789abcdef founder
    """
    said = settings()
    check_tier(tier, said.config_path)
    with announced_admin(said) as admin:
        admin.set_tier(account_id, tier)
        view = account_view(admin.account(account_id))
    print_one(view, as_json=as_json)


@account.command()
@click.argument("account_id", type=WORDS)
@click.argument("addon", type=click.Choice(["frontier"]))
@click.argument("switch", type=click.Choice(["on", "off"]))
def addon(account_id: str, addon: str, switch: str, as_json: bool) -> None:
    """Switch an add-on of an account on or off; frontier lets it call the frontier aliases.

    \b
    Example:
      llmdeal account addon acct_0123456789abcdef frontier on
    """
    _change(account_id, lambda admin: admin.set_frontier_addon(account_id, switch == "on"), as_json)


@account.command()
@click.argument("account_id", type=WORDS)
def freeze(account_id: str, as_json: bool) -> None:
    """Refuse new requests of an account; running ones end as usual.

    \b
    Example:
      llmdeal account freeze acct_0123456789abcdef
    """
    _change(account_id, lambda admin: admin.set_frozen(account_id, True), as_json)


@account.command()
@click.argument("account_id", type=WORDS)
def unfreeze(account_id: str, as_json: bool) -> None:
    """Let a frozen account send requests again.

    \b
    Example:
      llmdeal account unfreeze acct_0123456789abcdef
    """
    _change(account_id, lambda admin: admin.set_frozen(account_id, False), as_json)


def amount_above_0(usd: str) -> int:
    """Nano-USD of an amount that moves. Raises NotAnAmount."""
    amount = parse_usd(usd)
    if amount == 0:
        raise NotAnAmount(f"'{usd}' moves nothing; write an amount above 0")
    return amount


def _change(account_id: str, change: Callable[[Admin], None], as_json: bool) -> None:
    with announced_admin() as admin:
        change(admin)
        view = account_view(admin.account(account_id))
    print_one(view, as_json=as_json)

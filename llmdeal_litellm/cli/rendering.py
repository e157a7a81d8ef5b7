"""How results are printed: JSON, or aligned text made of the same values.

A view is a flat mapping that is a command's JSON answer. Amounts are decimal strings of USD under names
that end in `_usd`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import click

from llmdeal_litellm.accounts.admin import Account, Key, Usage
from llmdeal_litellm.money import usd_text

US_PER_S = 1_000_000

View = Mapping[str, object]


def account_view(account: Account) -> View:
    """An account with both wallets."""
    return {
        "id": account.id,
        "name": account.name,
        "tier": account.tier,
        "frontier_addon": account.frontier_addon,
        "frozen": account.frozen,
        "keys": account.keys,
        "created_at": time_text(account.created_at_us),
        "balance_usd": usd_text(account.base.balance),
        "held_usd": usd_text(account.base.held),
        "available_usd": usd_text(account.base.available),
        "frontier_usd": usd_text(account.frontier.balance),
        "frontier_held_usd": usd_text(account.frontier.held),
        "frontier_available_usd": usd_text(account.frontier.available),
    }


def key_view(key: Key) -> View:
    """A key without its secret. `cap_usd` null: no cap."""
    return {
        "key_id": key.id,
        "account_id": key.account_id,
        "revoked": key.revoked,
        "cap_usd": None if key.cap is None else usd_text(key.cap),
        "spent_usd": usd_text(key.spent),
        "held_usd": usd_text(key.held),
        "created_at": time_text(key.created_at_us),
    }


def usage_view(usage: Usage) -> View:
    """What one alias cost an account."""
    return {
        "account_id": usage.account_id,
        "alias": usage.alias,
        "requests": usage.requests,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "charged_usd": usd_text(usage.charged),
    }


def time_text(at_us: int) -> str:
    """A moment in UTC, to the second."""
    return datetime.fromtimestamp(at_us // US_PER_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def print_json(value: object) -> None:
    """One line of JSON; characters beyond ASCII are escaped, so every terminal can take it."""
    click.echo(json.dumps(value))


def print_one(view: View, *, as_json: bool) -> None:
    """One thing: a line per value."""
    if as_json:
        print_json(view)
        return
    width = max(len(_title(name)) for name in view)
    for name, value in view.items():
        click.echo(f"{_title(name).ljust(width)}  {_shown(value)}")


def print_table(views: Sequence[View], columns: Sequence[str], *, empty: str) -> None:
    """Many things: a line for each, counts to the right, amounts by their decimal point."""
    if not views:
        click.echo(empty)
        return
    shown = [_column(name, [view[name] for view in views]) for name in columns]
    for cells in zip(*shown, strict=True):
        click.echo("  ".join(cells).rstrip())


def _column(name: str, values: Sequence[object]) -> list[str]:
    texts = [_shown(value) for value in values]
    if name.endswith("_usd"):
        texts = list(_by_point(texts))
    right = name.endswith("_usd") or all(isinstance(v, int) and not isinstance(v, bool) for v in values)
    width = max(len(text) for text in [_title(name), *texts])
    return [text.rjust(width) if right else text.ljust(width) for text in [_title(name), *texts]]


def _by_point(texts: Iterable[str]) -> Iterable[str]:
    parts = [text.partition(".") for text in texts]
    places = max(len(after) for _, _, after in parts)
    return [before + (point or " ") + after.ljust(places) for before, point, after in parts]


def _title(name: str) -> str:
    return name.replace("_", " ").replace("usd", "USD")


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)

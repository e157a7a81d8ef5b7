"""How results are printed: JSON, or aligned text made of the same values.

A view is a flat mapping that is a command's JSON answer. Amounts are decimal strings of USD under names
that end in `_usd`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

import click

from llmdeal_litellm.accounts.admin import Account, Key, Usage
from llmdeal_litellm.ledger.rows import US_PER_DAY, US_PER_S, month_of
from llmdeal_litellm.money import usd_text

View = Mapping[str, object]

COUNTS = ("_usd", "_tokens")
"""How the names of columns end that are read from the right, also where a line has no value."""


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


def key_view(key: Key, now_us: int) -> View:
    """A key without its secret. A cap of null: none. The day and the month are those of `now_us`, in UTC."""
    is_today, is_this_month = key.day == now_us // US_PER_DAY, key.month == month_of(now_us)
    return {
        "key_id": key.id,
        "account_id": key.account_id,
        "revoked": key.revoked,
        "cap_usd": _cap(key.caps.total),
        "spent_usd": usd_text(key.spent),
        "held_usd": usd_text(key.held),
        "day_cap_usd": _cap(key.caps.day),
        "day_spent_usd": usd_text(key.day_spent if is_today else 0),
        "month_cap_usd": _cap(key.caps.month),
        "month_spent_usd": usd_text(key.month_spent if is_this_month else 0),
        "created_at": time_text(key.created_at_us),
    }


def _cap(cap: int | None) -> str | None:
    return None if cap is None else usd_text(cap)


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
    """Many things: a line for each, or `empty` when there are none."""
    if not views:
        click.echo(empty)
        return
    Table(columns).print(views)


class Table:
    """Lines of aligned columns that may be printed in pieces: counts to the right, amounts by their decimal
    point. A column is as wide as what has stood in it so far, so that a long table need not be in memory."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._places = dict.fromkeys(columns, 0)
        self._widths = {name: len(_title(name)) for name in columns}
        self._began = False

    def print(self, views: Sequence[View]) -> None:
        """The next lines; the titles come before the first."""
        click.echo("".join(f"{line}\n" for line in self._lines(views)), nl=False)

    def _lines(self, views: Sequence[View]) -> Iterator[str]:
        columns = [self._column(name, [view[name] for view in views]) for name in self._columns]
        for cells in list(zip(*columns, strict=True))[1 if self._began else 0 :]:
            yield "  ".join(cells).rstrip()
        self._began = True

    def _column(self, name: str, values: Sequence[object]) -> list[str]:
        texts = [_shown(value) for value in values]
        if name.endswith("_usd"):
            texts = self._by_point(name, texts)
        right = name.endswith(COUNTS) or all(isinstance(v, int) and not isinstance(v, bool) for v in values)
        width = self._widths[name] = max(self._widths[name], *map(len, texts))
        return [text.rjust(width) if right else text.ljust(width) for text in [_title(name), *texts]]

    def _by_point(self, name: str, texts: Sequence[str]) -> list[str]:
        parts = [text.partition(".") for text in texts]
        places = self._places[name] = max(self._places[name], *(len(after) for _, _, after in parts))
        return [before + (point or " ") + after.ljust(places) for before, point, after in parts]


def _title(name: str) -> str:
    return name.replace("_", " ").replace("usd", "USD")


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)

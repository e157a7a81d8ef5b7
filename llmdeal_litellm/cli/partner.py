"""`llmdeal partner`: machines of partners that serve consortium aliases for a share of what they earn."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from llmdeal_litellm.accounts.partners import Machine, Partner, Partners
from llmdeal_litellm.accounts.secrets import open_cipher
from llmdeal_litellm.cli.commands import WORDS, OperatorGroup
from llmdeal_litellm.cli.partner_statement import statement
from llmdeal_litellm.cli.rendering import View, print_json, print_one, print_table, time_text
from llmdeal_litellm.cli.store import now_us, open_store, settings
from llmdeal_litellm.cli.tiers import allowed_hosts, check_consortium_alias
from llmdeal_litellm.money import parse_share, share_text
from llmdeal_litellm.settings import BadSettings, Settings
from llmdeal_litellm.upstream.egress import registrable

LIST_COLUMNS = (
    "name",
    "alias",
    "state",
    "capacity",
    "share_percent",
    "strikes",
    "probed_at",
    "base_url",
    "why",
)
COUNT = click.IntRange(1, 100_000)
SHARE_SETTINGS = {"ignore_unknown_options": True}
"""So that a share with a minus sign is read as a share, and refused as one."""


@click.group(cls=OperatorGroup)
def partner() -> None:
    """Register machines of partners, and see what they earned.

    A machine serves requests once a probe of it has passed; all workers know of a change within 5 s.

    \b
    Example:
      llmdeal partner list
    """


partner.add_command(statement)


@partner.command(context_settings=SHARE_SETTINGS)
@click.argument("name", type=WORDS)
@click.option("--url", type=WORDS, required=True, help="Where an OpenAI-compatible server answers.")
@click.option("--model", type=WORDS, required=True, help="The model as its server's /models lists it.")
@click.option("--alias", type=WORDS, required=True, help="The consortium alias that it serves.")
@click.option("--capacity", type=COUNT, required=True, help="How many calls it takes at once.")
@click.option("--share", type=WORDS, required=True, help="Its share of each charge, per cent: 70 or 12.5.")
@click.option("--api-key-env", type=WORDS, help="Environment variable with its server's key.")
def add(
    name: str,
    url: str,
    model: str,
    alias: str,
    capacity: int,
    share: str,
    api_key_env: str | None,
    as_json: bool,
) -> None:
    """Register a machine. Its name, alias and share stay what they are; a removed name is not used again.

    \b
    Example:
      llmdeal partner add gpu-1 --url https://gpu1.example.com/v1 \\
        --model llama-3.3-70b --alias consortium-llama-70b \\
        --capacity 8 --share 70 --api-key-env GPU1_KEY
    """
    said = settings()
    points = parse_share(share)
    check_consortium_alias(alias, said.config_path)
    base_url = registrable(url, allowed_hosts(said.config_path)).url
    key = None if api_key_env is None else _key_in(api_key_env)
    machine = Machine(name, alias, base_url, model, capacity, points, key)
    with _open_partners(said) as partners:
        added = partners.add(machine, random_8_bytes=os.urandom(8), now_us=now_us())
    print_one(partner_view(added), as_json=as_json)


def _key_in(variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise BadSettings(f"{variable} has no key; set it to the key of the machine's server")
    return key


@partner.command("list")
def list_partners(as_json: bool) -> None:
    """List all machines, oldest first, with what their last probe found, or why they are paused.

    \b
    Example:
      llmdeal partner list
    """
    with _open_partners() as partners:
        views = [partner_view(found) for found in partners.all()]
    if as_json:
        print_json({"partners": views})
    else:
        print_table(views, LIST_COLUMNS, empty="No partners yet; register one with: llmdeal partner add")


@partner.command()
@click.argument("name", type=WORDS)
def pause(name: str, as_json: bool) -> None:
    """Send a machine no more requests; those under way end as usual.

    \b
    Example:
      llmdeal partner pause gpu-1
    """
    _change(lambda partners: partners.pause(name, now_us=now_us()), as_json)


@partner.command()
@click.argument("name", type=WORDS)
def resume(name: str, as_json: bool) -> None:
    """Send a paused machine requests again, once a probe of it has passed. Its strikes are forgiven.

    \b
    Example:
      llmdeal partner resume gpu-1
    """
    _change(lambda partners: partners.resume(name, now_us=now_us()), as_json)


@partner.command()
@click.argument("name", type=WORDS)
def remove(name: str, as_json: bool) -> None:
    """Send a machine no more requests, for good. Its statements stay.

    \b
    Example:
      llmdeal partner remove gpu-1
    """
    _change(lambda partners: partners.remove(name, now_us=now_us()), as_json)


def _change(change: Callable[[Partners], Partner], as_json: bool) -> None:
    with _open_partners() as partners:
        changed = change(partners)
    print_one(partner_view(changed), as_json=as_json)


@contextmanager
def _open_partners(said: Settings | None = None) -> Iterator[Partners]:
    """The registry. Raises BadSettings, WrongSecret, StoreFailed."""
    said = said or settings()
    with open_store(said) as database:
        open_cipher(database, said.encryption_keys)
        yield Partners(database, said.encryption_keys)


def partner_view(found: Partner) -> View:
    """A machine without its key."""
    return {
        "id": found.id,
        "name": found.name,
        "alias": found.alias,
        "base_url": found.base_url,
        "model": found.model,
        "has_key": found.sealed_key is not None,
        "capacity": found.capacity,
        "share_percent": share_text(found.share),
        "state": found.state.value,
        "why": found.why,
        "strikes": found.strikes,
        "struck_for": found.struck_for,
        "created_at": time_text(found.created_at_us),
        "changed_at": time_text(found.changed_at_us),
        "probed_at": None if found.probed_at_us is None else time_text(found.probed_at_us),
    }

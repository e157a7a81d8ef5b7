"""`llmdeal secrets`: the key under which customers' upstream keys are encrypted."""

import click

from llmdeal_litellm.accounts.byo_admin import ByoAdmin
from llmdeal_litellm.accounts.partners import Partners
from llmdeal_litellm.cli.commands import EXIT_FOUND_PROBLEMS, OperatorGroup
from llmdeal_litellm.cli.rendering import print_json
from llmdeal_litellm.cli.store import open_store, settings


@click.group(cls=OperatorGroup)
def secrets() -> None:
    """Change the key under which the database's secrets are encrypted.

    \b
    Example:
      llmdeal secrets rotate
    """


@secrets.command()
@click.pass_context
def rotate(context: click.Context, as_json: bool) -> None:
    """Encrypt customers' and partners' keys anew under LLMDEAL_ENCRYPTION_KEY.

    First give every gateway the new key and, as
    LLMDEAL_ENCRYPTION_KEY_PREVIOUS, the old one; they serve on meanwhile.
    Keys that neither opens are listed, and the exit code is 1.

    \b
    Example:
      llmdeal secrets rotate
    """
    said = settings()
    with open_store(said) as database:
        admin = ByoAdmin(database, said.encryption_keys)
        done = admin.rotate()
        machines, unreadable_machines = Partners(database, said.encryption_keys).seal_anew(admin.cipher)
    unreadable = [
        *({"account_id": key.account_id, "alias": key.alias} for key in done.unreadable),
        *({"partner": name} for name in unreadable_machines),
    ]
    rotated = done.rotated + machines
    if as_json:
        print_json({"key_id": done.key_id, "rotated": rotated, "unreadable": unreadable})
    else:
        click.echo(f"The database is under the key {done.key_id}; upstream keys encrypted anew: {rotated}.")
        for key in unreadable:
            click.echo(f"{' of '.join(reversed(key.values()))} opens under no key that was given.")
    if unreadable:
        context.exit(EXIT_FOUND_PROBLEMS)

"""`llmdeal migrate`: bring the tables of the database up to date."""

import click

from llmdeal_litellm.cli.commands import EXIT_FOUND_PROBLEMS, OperatorCommand
from llmdeal_litellm.cli.rendering import print_json
from llmdeal_litellm.cli.store import settings
from llmdeal_litellm.ledger.database import STEPS, refuse_newer
from llmdeal_litellm.ledger.sqlite import SqliteDatabase
from llmdeal_litellm.ledger.stores import SqliteStore, Store


@click.command(cls=OperatorCommand)
@click.option("--check", is_flag=True, help="Change nothing; exit code 1 when there is something to do.")
@click.pass_context
def migrate(context: click.Context, check: bool, as_json: bool) -> None:
    """Bring the tables of the database up to date.

    Run it before the gateways of a new release start: on PostgreSQL they do not change tables themselves.
    Doing it again, or from two places at once, does nothing more.

    \b
    Example:
      llmdeal migrate
      llmdeal migrate --check
    """
    store = settings().store
    before, after = _checked(store) if check else _migrated(store)
    behind = before < after
    if as_json:
        versions = {"from_version": before, "to_version": after}
        print_json({"database": str(store), **versions, "migrated": behind and not check})
    elif not behind:
        click.echo(f"{store} is up to date at version {after}.")
    elif check:
        click.echo(f"{store} is at version {before} of {after}; run: llmdeal migrate")
    else:
        click.echo(f"{store} was brought from version {before} to {after}.")
    if behind and check:
        context.exit(EXIT_FOUND_PROBLEMS)


def _migrated(store: Store) -> tuple[int, int]:
    """The version before and after. Raises StoreFailed."""
    database = store.open()
    try:
        applied = database.migrate()
        after = database.schema_version()
    finally:
        database.close()
    return after - applied, after


def _checked(store: Store) -> tuple[int, int]:
    """The version that is there, and the one that this release needs. Raises StoreFailed."""
    if isinstance(store, SqliteStore) and not store.path.exists():
        return 0, len(STEPS)  # looking into it would make it
    database = SqliteDatabase(store.path, read_only=True) if isinstance(store, SqliteStore) else store.open()
    try:
        version = database.schema_version()
    finally:
        database.close()
    refuse_newer(version)
    return version, len(STEPS)

"""The store as an operator's command opens it, and how gateways learn of what the command changed."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import click

from llmdeal_litellm.accounts.admin import Admin
from llmdeal_litellm.ledger.database import CommitUnknown, Database
from llmdeal_litellm.settings import BadSettings, Settings, read_settings

NOTICED_S = 1
"""How long gateways at most believe what they know of a key, also when nobody tells them of a change."""


def settings() -> Settings:
    """What the environment says. Raises BadSettings."""
    return read_settings(os.environ)


@contextmanager
def open_store(said: Settings | None = None) -> Iterator[Database]:
    """A connection to the store; a file is migrated. Raises BadSettings, StoreFailed."""
    store = (said or settings()).store
    database = store.open()
    try:
        if store.is_shared:
            # Gateways run on it: when its tables change is the operator's to say.
            database.check_schema()
        else:
            database.migrate()
        yield database
    finally:
        database.close()


@contextmanager
def open_admin(said: Settings | None = None) -> Iterator[Admin]:
    """The operator's actions. Raises BadSettings, WrongSecret, StoreFailed."""
    said = said or settings()
    with open_store(said) as database:
        yield Admin(database, said.key_pepper)


@contextmanager
def announced_admin(said: Settings | None = None) -> Iterator[Admin]:
    """The operator's actions for a command that changes what gateways remember of keys and accounts; see
    `announced_store`. Raises as `open_admin` does."""
    said = said or settings()
    with announced_store(said) as database:
        yield Admin(database, said.key_pepper)


@contextmanager
def announced_store(said: Settings) -> Iterator[Database]:
    """The store for a command that changes what gateways remember.

    Print after it: gateways are told at its end, and a reader that went away must not prevent that.
    Raises as `open_store` does.
    """
    announcer = Announcer(said.redis_url)
    try:
        with open_store(said) as database:
            yield database
    except CommitUnknown:
        announcer.announce()
        raise
    announcer.announce()


class Announcer:
    """Tells the gateways that keys or accounts changed, where they have a Redis in common. Raises BadSettings
    when `redis_url` is not the address of one."""

    def __init__(self, redis_url: str | None) -> None:
        self._url = redis_url
        if redis_url is None:
            return
        # Most commands change nothing and most stores have no Redis: its client costs 0.1 s of a command.
        self._fleet = import_module("llmdeal_litellm.fleet")
        try:
            self._fleet.address_of(redis_url)
        except ValueError as wrong:
            raise BadSettings(f"LLMDEAL_REDIS_URL cannot be used: {wrong}") from None

    def announce(self) -> None:
        """Tell them; when Redis is away, tell the operator how long they take to notice."""
        if self._url is not None and not self._fleet.announce_callers_changed(self._url):
            click.echo(
                f"llmdeal: Redis did not answer; it is done, and gateways notice within {NOTICED_S} s",
                err=True,
            )


def now_us() -> int:
    """This machine's time, microseconds of Unix time."""
    return time.time_ns() // 1000

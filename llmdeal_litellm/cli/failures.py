"""What an operator reads when a command cannot be done: a sentence and an exit code for each named error."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from llmdeal_litellm.accounts.admin import NoSuchAccount, NoSuchKey
from llmdeal_litellm.accounts.byo_admin import BadByo, NoSuchByo
from llmdeal_litellm.accounts.partners import NameTaken, NoSuchPartner, WasRemoved
from llmdeal_litellm.accounts.refunds import AlreadyRefunded, NothingCharged
from llmdeal_litellm.accounts.secrets import WrongSecret
from llmdeal_litellm.catalog.facts import NotServed
from llmdeal_litellm.catalog.positions import ConfigError
from llmdeal_litellm.cli.commands import EXIT_REFUSED, EXIT_STORE
from llmdeal_litellm.cli.tiers import UnknownAlias, UnknownTier
from llmdeal_litellm.ledger.database import (
    CommitUnknown,
    SchemaTooNew,
    SchemaTooOld,
    StatementRefused,
    StoreBusy,
    StoreFailed,
)
from llmdeal_litellm.money import NotAnAmount, NotAShare
from llmdeal_litellm.policy.addresses import AddressRefused
from llmdeal_litellm.settings import BadSettings


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a command was not done, and how the process ends."""

    exit_code: int
    sentence: str


def _usage(error: click.UsageError) -> str:
    said = error.format_message()
    return f"{said} See: {error.ctx.command_path} --help" if error.ctx else said


_KNOWN: tuple[tuple[type[Exception], int, Callable[[Any], str]], ...] = (
    (click.UsageError, EXIT_REFUSED, _usage),
    (click.ClickException, EXIT_REFUSED, lambda error: error.format_message()),
    (NoSuchAccount, EXIT_REFUSED, lambda error: f"there is no account '{error}'; see: llmdeal account list"),
    (NoSuchKey, EXIT_REFUSED, lambda error: f"there is no key '{error}'; see: llmdeal key list"),
    (
        NoSuchPartner,
        EXIT_REFUSED,
        lambda error: f"there is no partner '{error}'; see: llmdeal partner list",
    ),
    (
        NameTaken,
        EXIT_REFUSED,
        lambda error: f"the name '{error}' is taken, also when that partner was removed; choose another",
    ),
    (
        WasRemoved,
        EXIT_REFUSED,
        lambda error: f"'{error}' was removed; register the machine under another name",
    ),
    (AddressRefused, EXIT_REFUSED, str),
    (NotAShare, EXIT_REFUSED, str),
    (NothingCharged, EXIT_REFUSED, lambda error: f"nothing was charged for the request '{error}'"),
    (AlreadyRefunded, EXIT_REFUSED, lambda error: f"the request '{error}' was refunded before"),
    (NoSuchByo, EXIT_REFUSED, lambda error: f"the account has no alias '{error}'; see: llmdeal byo list"),
    (BadByo, EXIT_REFUSED, str),
    (NotServed, EXIT_REFUSED, lambda error: error.args[0]),
    (BadSettings, EXIT_REFUSED, str),
    (ConfigError, EXIT_REFUSED, str),
    (NotAnAmount, EXIT_REFUSED, str),
    (UnknownTier, EXIT_REFUSED, str),
    (UnknownAlias, EXIT_REFUSED, str),
    (WrongSecret, EXIT_REFUSED, str),
    (StoreBusy, EXIT_STORE, str),
    (
        CommitUnknown,
        EXIT_STORE,
        lambda error: f"the connection was lost while it was saved: {error}; look whether it was done",
    ),
    (SchemaTooOld, EXIT_STORE, lambda error: f"the database cannot be used: {error}"),
    (SchemaTooNew, EXIT_STORE, lambda error: f"the database cannot be used: {error}"),
    (
        StoreFailed,
        EXIT_STORE,
        lambda error: f"the database cannot be used: {error}; check what LLMDEAL_DATABASE_URL names",
    ),
    (StatementRefused, EXIT_STORE, lambda error: f"the database refused it: {error}"),
    (
        OSError,
        EXIT_STORE,
        lambda error: f"a file cannot be used: {error}; check its rights and the free space",
    ),
)
NAMED = tuple(kind for kind, _, _ in _KNOWN)
"""The errors that are explained here; any other one is a defect."""


def explained(error: Exception) -> Failure:
    """The sentence for one of `NAMED`."""
    for kind, exit_code, sentence in _KNOWN:
        if isinstance(error, kind):
            return Failure(exit_code, sentence(error))
    raise error

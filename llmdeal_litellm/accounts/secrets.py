"""The two secrets of a database: every process that opens it must have the ones it was made with.

The key-encryption key may be changed while gateways serve: `rotate_to` makes the database's secrets those of
the new one, once every process has both. Source: docs/decisions/0013-own-upstream-keys.md.
"""

from collections.abc import Sequence
from enum import Enum

from llmdeal_litellm.accounts.sealing import Cipher, fingerprint
from llmdeal_litellm.ledger.database import Database
from llmdeal_litellm.policy.keys import key_digest


class Secret(Enum):
    """Where the store keeps the fingerprint of a secret."""

    KEY_PEPPER = "key_pepper_fingerprint"
    ENCRYPTION_KEY = "encryption_key_fingerprint"


PEPPER_TEXT = b"llmdeal key pepper"
WRONG_PEPPER = "LLMDEAL_KEY_PEPPER is not the one this database's keys were made under; restore it"
WRONG_KEY = (
    "LLMDEAL_ENCRYPTION_KEY is not the one this database's secrets are encrypted under; restore it and give "
    "every machine the same. To change it, set LLMDEAL_ENCRYPTION_KEY_PREVIOUS to the old one beside it and "
    "run: llmdeal secrets rotate"
)
SELECT = "SELECT s.value FROM settings s WHERE s.name"


class WrongSecret(Exception):
    """The secret is not the one that the database was made with; the message says what to restore."""


def check_pepper(database: Database, pepper: bytes) -> None:
    """Compare the key pepper with the fingerprint that the database has, or leave one when it has none yet.

    Raises WrongSecret, or StoreFailed.
    """
    own = key_digest(pepper, PEPPER_TEXT).hex()
    if _kept(database, Secret.KEY_PEPPER, own) != own:
        raise WrongSecret(WRONG_PEPPER)


def open_cipher(database: Database, keys: Sequence[bytes]) -> Cipher:
    """A cipher that seals under the key which the database is under and opens under all of `keys`.

    A database without secrets is from now on under the first. Raises WrongSecret, or StoreFailed.
    """
    return _under(_kept(database, Secret.ENCRYPTION_KEY, fingerprint(keys[0])), keys)


def hold_cipher(database: Database, keys: Sequence[bytes]) -> Cipher:
    """As `open_cipher`, within a write transaction of a database that has secrets: until it ends the
    database stays under the same key. Raises WrongSecret, or StoreFailed."""
    row = database.rows_in(SELECT, (Secret.ENCRYPTION_KEY.value,), lock="s")
    return _under(row[0][0] if row else "", keys)


def rotate_to(database: Database, keys: Sequence[bytes]) -> Cipher:
    """Put the database under the first of `keys`, whichever of them it is under now; what is sealed from now
    on is sealed under that. Raises WrongSecret, or StoreFailed."""
    open_cipher(database, keys)
    with database.write():
        hold_cipher(database, keys)
        update = "UPDATE settings SET value = ? WHERE name = ?"
        database.run(update, (fingerprint(keys[0]), Secret.ENCRYPTION_KEY.value))
    return Cipher(*keys)


def _under(named: str, keys: Sequence[bytes]) -> Cipher:
    found = [key for key in keys if fingerprint(key) == named]
    if not found:
        raise WrongSecret(WRONG_KEY)
    return Cipher(found[0], *(key for key in keys if key != found[0]))


def _kept(database: Database, secret: Secret, own: str) -> str:
    """The fingerprint that the database has; `own` when it had none."""
    select = "SELECT value FROM settings WHERE name = ?"
    row = database.row(select, (secret.value,))
    if row is None:
        with database.write():
            insert = "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING"
            database.run(insert, (secret.value, own))
        row = database.row(select, (secret.value,))
    return str(row[0]) if row else ""

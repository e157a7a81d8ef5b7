"""The two secrets of a database: every process that opens it must have the ones it was made with."""

from enum import Enum

from llmdeal_litellm.ledger.database import Database
from llmdeal_litellm.policy.keys import key_digest


class Secret(Enum):
    """Where the store keeps the fingerprint of a secret."""

    KEY_PEPPER = "key_pepper_fingerprint"
    ENCRYPTION_KEY = "encryption_key_fingerprint"


CHECKED_TEXT = {Secret.KEY_PEPPER: b"llmdeal key pepper", Secret.ENCRYPTION_KEY: b"llmdeal encryption key"}
SAID = {
    Secret.KEY_PEPPER: "LLMDEAL_KEY_PEPPER is not the one this database's keys were made under; restore it",
    Secret.ENCRYPTION_KEY: "LLMDEAL_ENCRYPTION_KEY is not the one this database's secrets are encrypted "
    "under; restore it, or give every machine the same",
}


class WrongSecret(Exception):
    """The secret is not the one that the database was made with; the message says what to restore."""


def check_secret(database: Database, secret: Secret, value: bytes) -> None:
    """Compare a secret with the fingerprint that the database has, or leave one when it has none yet.

    Raises WrongSecret, or StoreFailed.
    """
    fingerprint = key_digest(value, CHECKED_TEXT[secret]).hex()
    select = "SELECT value FROM settings WHERE name = ?"
    row = database.row(select, (secret.value,))
    if row is None:
        with database.write():
            insert = "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING"
            database.run(insert, (secret.value, fingerprint))
        row = database.row(select, (secret.value,))
    if row is None or row[0] != fingerprint:
        raise WrongSecret(SAID[secret])

"""What an operator does with accounts' own upstream keys. Every change is one write transaction.

The key-encryption keys are those of the environment: the one, and the one before it while it is changed.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmdeal_litellm.accounts.admin import NoSuchAccount
from llmdeal_litellm.accounts.byo import COLUMNS, ByoKey, byo_key, place_of
from llmdeal_litellm.accounts.sealing import CannotOpen, Cipher
from llmdeal_litellm.accounts.secrets import hold_cipher, open_cipher, rotate_to
from llmdeal_litellm.catalog.facts import ModelFacts
from llmdeal_litellm.catalog.model import BYO_PREFIX
from llmdeal_litellm.ledger.database import Database

ALIAS = re.compile(rf"{BYO_PREFIX}[a-z0-9.-]{{1,56}}")
KEY_CHARS_MIN, KEY_CHARS_MAX = 8, 512
MODEL_CHARS_MAX = 200
ALIASES_MAX = 100
"""So many an account may have."""
ROTATED_AT_ONCE = 100
"""Rows of one transaction of a rotation, so that nobody waits long for it."""


class BadByo(ValueError):
    """An alias, a model or a key cannot be registered; the message says what to write instead."""


class NoSuchByo(LookupError):
    """The account has no such alias."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """How a change of the key-encryption key ended: the new one, how many upstream keys were encrypted anew,
    and those that no given key opens."""

    key_id: str
    rotated: int
    unreadable: tuple[ByoKey, ...]


class ByoAdmin:
    """Operator's actions on the store. Every method may raise StoreFailed or WrongSecret."""

    def __init__(self, database: Database, keys: Sequence[bytes]) -> None:
        self._db = database
        self._keys = keys
        self.cipher: Cipher = open_cipher(database, keys)

    def add(
        self, account_id: str, alias: str, provider: str, model: str, facts: ModelFacts, key: str, now_us: int
    ) -> ByoKey:
        """Register a key. Raises BadByo or NoSuchAccount, and then nothing was changed."""
        check_alias(alias)
        check_model(model)
        check_key(key)
        with self._db.write():
            self.require_account(account_id)
            # Until the end of the transaction no rotation can begin, and no other key be added.
            cipher = hold_cipher(self._db, self._keys)
            self._require_room(account_id, alias)
            sealed = cipher.seal(key.encode(), place_of(account_id, alias, provider))
            values = (
                *(account_id, alias, provider, model, facts.kind.value, facts.context_window),
                *(facts.max_output_tokens, int(facts.vision), int(facts.reasoning), facts.dimensions),
                *(cipher.key_id, sealed, now_us),
            )
            marks = ", ".join("?" * len(values))
            self._db.run(f"INSERT INTO byo_keys ({COLUMNS}) VALUES ({marks})", values)
        return self.key(account_id, alias)

    def require_account(self, account_id: str) -> None:
        """Raises NoSuchAccount."""
        if self._db.row("SELECT 1 FROM accounts WHERE id = ?", (account_id,)) is None:
            raise NoSuchAccount(account_id)

    def _require_room(self, account_id: str, alias: str) -> None:
        rows = self._db.rows("SELECT alias FROM byo_keys WHERE account_id = ?", (account_id,))
        if (alias,) in rows:
            raise BadByo(
                f"'{alias}' is taken in this account; choose another alias, or remove it first: "
                f"llmdeal byo remove {account_id} {alias}"
            )
        if len(rows) >= ALIASES_MAX:
            raise BadByo(f"the account has {ALIASES_MAX} aliases, as many as it may; remove one first")

    def key(self, account_id: str, alias: str) -> ByoKey:
        """One key. Raises NoSuchByo."""
        for found in self._selected("WHERE account_id = ? AND alias = ?", account_id, alias):
            return found
        raise NoSuchByo(alias)

    def keys(self, account_id: str | None = None) -> Iterator[ByoKey]:
        """Keys of one account or of all, by account and alias."""
        return self._selected("WHERE account_id = ?", account_id) if account_id else self._selected("")

    def _selected(self, where: str, *values: str) -> Iterator[ByoKey]:
        select = f"SELECT {COLUMNS} FROM byo_keys {where} ORDER BY account_id, alias"
        yield from map(byo_key, self._db.rows(select, values))

    def remove(self, account_id: str, alias: str) -> ByoKey:
        """Forget a key for good; returns what it was. Raises NoSuchByo."""
        removed = self.key(account_id, alias)
        with self._db.write():
            statement = "DELETE FROM byo_keys WHERE account_id = ? AND alias = ?"
            if self._db.run(statement, (account_id, alias)) == 0:
                raise NoSuchByo(alias)
        return removed

    def rotate(self) -> Rotation:
        """Put the database and all upstream keys under the first of the key-encryption keys.

        Gateways that have both keys serve on: every row opens under one of them at any moment. What was done
        when it is interrupted stays done; run it again.
        """
        self.cipher = rotate_to(self._db, self._keys)
        rotated, unreadable = 0, list[ByoKey]()
        after = ("", "")
        while batch := self._old(after):
            after = (batch[-1].account_id, batch[-1].alias)
            with self._db.write():
                for key in batch:
                    try:
                        rotated += self._seal_anew(key)
                    except CannotOpen:
                        unreadable.append(key)
        return Rotation(self.cipher.key_id, rotated, tuple(unreadable))

    def _old(self, after: tuple[str, str]) -> list[ByoKey]:
        select = (
            f"SELECT {COLUMNS} FROM byo_keys WHERE key_id <> ? AND (account_id > ? OR "
            "(account_id = ? AND alias > ?)) ORDER BY account_id, alias LIMIT ?"
        )
        values = (self.cipher.key_id, after[0], after[0], after[1], ROTATED_AT_ONCE)
        return [byo_key(row) for row in self._db.rows(select, values)]

    def _seal_anew(self, key: ByoKey) -> int:
        """Raises CannotOpen. Returns 0 when the row is not there any more, or not the same."""
        text = key.opened(self.cipher).reveal()
        update = (
            "UPDATE byo_keys SET key_id = ?, sealed = ? WHERE account_id = ? AND alias = ? AND sealed = ?"
        )
        sealed = self.cipher.seal(text.encode(), key.place)
        return self._db.run(update, (self.cipher.key_id, sealed, key.account_id, key.alias, key.sealed))


def check_alias(alias: str) -> None:
    """Raises BadByo."""
    if not ALIAS.fullmatch(alias):
        raise BadByo(
            f"'{alias}' is no alias; write {BYO_PREFIX} and 1 to 56 of a-z, 0-9, '.' and '-', such as "
            f"{BYO_PREFIX}my-model"
        )


def check_model(model: str) -> None:
    """Raises BadByo."""
    if not model.isascii() or not model.isprintable() or set(" ?#\\") & set(model):
        raise BadByo("the model must be the provider's own name of it: printable ASCII without spaces")
    if not 0 < len(model) <= MODEL_CHARS_MAX:
        raise BadByo(f"the model's name must have 1 to {MODEL_CHARS_MAX} characters")


def check_key(key: str) -> None:
    """Raises BadByo, whose message has nothing of the key."""
    if "\n" in key or "\r" in key:
        raise BadByo("the key has more than one line; give the key alone")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise BadByo("the key must be printable ASCII without spaces; give the key alone")
    if not KEY_CHARS_MIN <= len(key) <= KEY_CHARS_MAX:
        raise BadByo(f"the key must have {KEY_CHARS_MIN} to {KEY_CHARS_MAX} characters; this has {len(key)}")

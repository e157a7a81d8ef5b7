"""The registry of partners' machines: who they are, what they serve, on which terms, and who may be called.

    probing ── a probe passes ──▶ active ── a probe fails ──▶ probing paused is the operator's word or that of
    three strikes, removed the operator's; paused ── resume ──▶ probing

Times are microseconds of Unix time, shares are basis points. Upstream keys are kept encrypted, bound to their
machine. Source: docs/decisions/0014-partner-machines.md.
"""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from llmdeal_litellm.accounts.sealing import CannotOpen, Cipher
from llmdeal_litellm.accounts.secrets import hold_cipher, open_cipher
from llmdeal_litellm.ledger.database import Database, Row
from llmdeal_litellm.ledger.ops import CANARIES
from llmdeal_litellm.ledger.rows import US_PER_DAY
from llmdeal_litellm.policy.suspicion import STRIKES_MAX

COLUMNS = (
    "id, name, alias, base_url, model, sealed_key, capacity, share, state, why, strikes, created_at_us, "
    "changed_at_us, probed_at_us, probe_after_us, struck_for, struck_at_us"
)
SELECT_ALL = f"SELECT {COLUMNS} FROM partners ORDER BY created_at_us, id"
SELECT_KNOWN = f"SELECT {COLUMNS} FROM partners WHERE state <> 'removed' ORDER BY created_at_us, id"
SELECT_NAMED = f"SELECT {COLUMNS} FROM partners WHERE name = ?"
SELECT_ID = f"SELECT {COLUMNS} FROM partners WHERE id = ?"
SELECT_DUE = (
    f"SELECT {COLUMNS} FROM partners WHERE state IN ('probing', 'active') AND probe_after_us <= ? "
    "ORDER BY probe_after_us LIMIT ?"
)
STRIKES_FORGIVEN_US = US_PER_DAY
"""Strikes against a machine that got none for so long do not count any more."""
DEPLOYMENT = "partner:"
"""In front of a partner's id: its name among the deployments."""
FOUND_CANARIES: tuple[tuple[str, tuple[object, ...]], ...] = (
    (
        "INSERT INTO accounts (id, name, tier, created_at_us) VALUES (?, ?, 'house', 0) "
        "ON CONFLICT (id) DO NOTHING",
        (CANARIES, "the house's checks of partners' machines"),
    ),
    ("INSERT INTO wallets (account_id, wallet) VALUES (?, 'base') ON CONFLICT DO NOTHING", (CANARIES,)),
    ("INSERT INTO wallets (account_id, wallet) VALUES (?, 'frontier') ON CONFLICT DO NOTHING", (CANARIES,)),
    (
        # No key has a digest of one byte.
        "INSERT INTO keys (id, account_id, digest, created_at_us) VALUES (?, ?, ?, 0) "
        "ON CONFLICT (id) DO NOTHING",
        (CANARIES, CANARIES, b"\0"),
    ),
)


class NoSuchPartner(LookupError):
    """No partner has this name."""


class NameTaken(ValueError):
    """A partner has this name, or had it before it was removed."""


class WasRemoved(ValueError):
    """The partner was removed, for good."""


class PartnerState(Enum):
    """Whether a machine may be called: only an active one."""

    PROBING = "probing"
    ACTIVE = "active"
    PAUSED = "paused"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Machine:
    """What an operator registers. `capacity` is how many calls it takes at once; `key` is for its server, and
    None where it asks for none."""

    name: str
    alias: str
    base_url: str
    model: str
    capacity: int
    share: int
    key: str | None = None

    def __repr__(self) -> str:
        return f"Machine({self.name})"


@dataclass(frozen=True, slots=True)
class Partner:
    """A registered machine. `why` says what the last probe, the operator or the third strike found;
    `struck_for` what the `strikes` were for."""

    id: str
    name: str
    alias: str
    base_url: str
    model: str
    sealed_key: str | None
    capacity: int
    share: int
    state: PartnerState
    why: str
    strikes: int
    created_at_us: int
    changed_at_us: int
    probed_at_us: int | None
    probe_after_us: int
    struck_for: str
    struck_at_us: int | None

    @property
    def deployment(self) -> str:
        """Its name among the deployments."""
        return DEPLOYMENT + self.id


def read_partner(row: Row) -> Partner:
    """A row of one of the selects above."""
    partner = Partner(*row)
    return replace(partner, state=PartnerState(partner.state))


def key_of(partner: Partner, cipher: Cipher, *, under: str | None = None) -> str | None:
    """A machine's key, empty for one without; None for one that cannot be read: it was sealed under another
    LLMDEAL_ENCRYPTION_KEY, or another one than `under` where that is given, or for another machine."""
    if partner.sealed_key is None:
        return ""
    try:
        return cipher.open(b64decode(partner.sealed_key), _place(partner.id), under=under).decode()
    except (CannotOpen, ValueError):
        return None


def _sealed(key: str, partner_id: str, cipher: Cipher) -> str:
    return b64encode(cipher.seal(key.encode(), _place(partner_id))).decode()


def _place(partner_id: str) -> bytes:
    """What a sealed key is bound to."""
    return partner_id.encode()


class Partners:
    """The registry. Every change is one write transaction; every method may raise StoreFailed.

    `keys` are the key-encryption keys, the current one first.
    """

    def __init__(self, database: Database, keys: Sequence[bytes]) -> None:
        self._db = database
        self._keys = keys

    def add(self, machine: Machine, *, random_8_bytes: bytes, now_us: int) -> Partner:
        """Register a machine; it is called once a probe has passed. Raises NameTaken, WrongSecret."""
        partner_id = "prt_" + random_8_bytes.hex()
        open_cipher(self._db, self._keys)
        with self._db.write():
            cipher = hold_cipher(self._db, self._keys)
            sealed = None if machine.key is None else _sealed(machine.key, partner_id, cipher)
            added = self._db.run(
                "INSERT INTO partners (id, name, alias, base_url, model, sealed_key, capacity, share, state, "
                "created_at_us, changed_at_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'probing', ?, ?) "
                "ON CONFLICT (name) DO NOTHING",
                (
                    *(partner_id, machine.name, machine.alias, machine.base_url, machine.model, sealed),
                    *(machine.capacity, machine.share, now_us, now_us),
                ),
            )
            if not added:
                raise NameTaken(machine.name)
        return self.named(machine.name)

    def all(self) -> list[Partner]:
        """All that were ever registered, oldest first."""
        return [read_partner(row) for row in self._db.rows(SELECT_ALL)]

    def named(self, name: str) -> Partner:
        """One of them. Raises NoSuchPartner."""
        row = self._db.row(SELECT_NAMED, (name,))
        if row is None:
            raise NoSuchPartner(name)
        return read_partner(row)

    def seal_anew(self, cipher: Cipher) -> tuple[int, list[str]]:
        """Seal those machines' keys that are under another key under the cipher's own; returns how many, and
        the names of machines whose key cannot be read."""
        sealed, unreadable = 0, list[str]()
        with self._db.write():
            for partner in self.all():
                if key_of(partner, cipher, under=cipher.key_id) is not None:
                    continue
                key = key_of(partner, cipher)
                if key is None:
                    unreadable.append(partner.name)
                    continue
                update = "UPDATE partners SET sealed_key = ? WHERE id = ? AND sealed_key = ?"
                anew = _sealed(key, partner.id, cipher)
                sealed += self._db.run(update, (anew, partner.id, partner.sealed_key))
        return sealed, unreadable

    def pause(self, name: str, *, now_us: int) -> Partner:
        """Send it no more requests; those under way end as usual. Raises NoSuchPartner, WasRemoved."""
        return self._set(name, PartnerState.PAUSED, "paused by the operator", now_us)

    def resume(self, name: str, *, now_us: int) -> Partner:
        """Have it called again once a probe has passed, its strikes forgiven. Raises NoSuchPartner,
        WasRemoved."""
        return self._set(name, PartnerState.PROBING, "", now_us)

    def remove(self, name: str, *, now_us: int) -> Partner:
        """Have it called never again; its statements stay. Raises NoSuchPartner, WasRemoved."""
        return self._set(name, PartnerState.REMOVED, "removed by the operator", now_us)

    def strike(self, partner_id: str, what: str) -> Partner | None:
        """A strike against a machine that is called; with the third it is paused. Returns the machine as it
        is then, None when it was paused or removed before."""
        with self._db.write():
            now_us = self._db.now_us()
            before_us = now_us - STRIKES_FORGIVEN_US
            self._db.run(
                "UPDATE partners SET strikes = 0, struck_for = '' WHERE id = ? AND struck_at_us < ?",
                (partner_id, before_us),
            )
            struck = self._db.run(
                "UPDATE partners SET strikes = strikes + 1, struck_at_us = ?, "
                "struck_for = CASE WHEN strikes = 0 THEN ? WHEN struck_for = ? THEN struck_for "
                "ELSE struck_for || '; ' || ? END "
                "WHERE id = ? AND state IN ('probing', 'active')",
                (now_us, what, what, what, partner_id),
            )
            self._db.run(
                "UPDATE partners SET state = 'paused', changed_at_us = ?, "
                "why = 'paused after three strikes: ' || struck_for || '. Resume it when that is mended.' "
                "WHERE id = ? AND strikes >= ? AND state IN ('probing', 'active')",
                (now_us, partner_id, STRIKES_MAX),
            )
            row = self._db.row(SELECT_ID, (partner_id,)) if struck else None
        return None if row is None else read_partner(row)

    def found_canaries(self) -> None:
        """Have the house's account that canaries are asked on, whose key nobody can have."""
        with self._db.write():
            for statement, values in FOUND_CANARIES:
                self._db.run(statement, values)

    def _set(self, name: str, state: PartnerState, why: str, now_us: int) -> Partner:
        with self._db.write():
            self._db.run(
                "UPDATE partners SET state = ?, why = ?, changed_at_us = ?, probe_after_us = 0 "
                "WHERE name = ? AND state <> 'removed' AND NOT (state = 'active' AND ? = 'probing')",
                (state.value, why, now_us, name, state.value),
            )
            if state is PartnerState.PROBING:
                self._db.run("UPDATE partners SET strikes = 0, struck_for = '' WHERE name = ?", (name,))
            partner = self.named(name)
            if partner.state is PartnerState.REMOVED and state is not PartnerState.REMOVED:
                raise WasRemoved(name)
        return partner

    def claim(self, next_after_us: Sequence[int]) -> list[Partner]:
        """The machines whose probe is due now, at most as many as there are numbers; each is this caller's to
        probe, and due again so long after now."""
        with self._db.write():
            now_us = self._db.now_us()
            select = SELECT_DUE + self._db.lock_unlocked
            due = [read_partner(row) for row in self._db.rows(select, (now_us, len(next_after_us)))]
            for partner, after_us in zip(due, next_after_us, strict=False):
                put_off = "UPDATE partners SET probe_after_us = ? WHERE id = ?"
                self._db.run(put_off, (now_us + after_us, partner.id))
        return due

    def probed(self, partner_id: str, why: str) -> bool:
        """A probe ended: empty when it passed, otherwise `why` it did not. Returns whether that changed the
        machine's state. What the operator paused or removed meanwhile stays so."""
        state = PartnerState.PROBING if why else PartnerState.ACTIVE
        with self._db.write():
            now_us = self._db.now_us()
            self._db.run(
                "UPDATE partners SET probed_at_us = ?, why = ? "
                "WHERE id = ? AND state IN ('probing', 'active')",
                (now_us, why, partner_id),
            )
            changed = self._db.run(
                "UPDATE partners SET state = ?, changed_at_us = ? "
                "WHERE id = ? AND state IN ('probing', 'active') AND state <> ?",
                (state.value, now_us, partner_id, state.value),
            )
        return changed > 0

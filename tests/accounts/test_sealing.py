"""Encryption of secrets in the store: one place, a fresh nonce, and the key or the one before it."""

import secrets

import pytest

from llmdeal_litellm.accounts.sealing import CannotOpen, Cipher, fingerprint, key_id

OLD, NEW, OTHER = (secrets.token_bytes(32) for _ in range(3))
TEXT, PLACE = b"sk-an-upstream-key", b"byo\0acct_a\0byo-x\0p"


def test_what_is_sealed_opens_and_does_not_show() -> None:
    """AES-256-GCM with 12 bytes of nonce and 16 of tag; the same text is never sealed alike."""
    cipher = Cipher(NEW)
    sealed = [cipher.seal(TEXT, PLACE) for _ in range(100)]

    assert {cipher.open(one, PLACE) for one in sealed} == {TEXT}
    assert len({one[:12] for one in sealed}) == 100
    assert {len(one) for one in sealed} == {12 + len(TEXT) + 16}
    assert not any(TEXT in one for one in sealed)


def test_it_opens_for_its_place_alone() -> None:
    """Another account, alias or provider, or a place that only reads alike."""
    cipher = Cipher(NEW)
    sealed = cipher.seal(TEXT, PLACE)
    for other in (
        b"",
        b"byo\0acct_b\0byo-x\0p",
        b"byo\0acct_a\0byo-y\0p",
        b"byo\0acct_a\0byo-x\0q",
        PLACE + b"\0",
    ):
        with pytest.raises(CannotOpen):
            cipher.open(sealed, other)


def test_a_changed_byte_is_noticed() -> None:
    """Of the nonce, the text or the tag; and one that is cut anywhere."""
    cipher = Cipher(NEW)
    sealed = cipher.seal(TEXT, PLACE)
    for at in range(len(sealed)):
        changed = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        for broken in (changed, sealed[:at]):
            with pytest.raises(CannotOpen):
                cipher.open(broken, PLACE)


def test_during_a_change_of_the_key_both_open() -> None:
    """Sealed under the first; whoever knows which key it was need not try the others."""
    old, both = Cipher(OLD), Cipher(NEW, OLD)
    sealed = old.seal(TEXT, PLACE)

    assert both.key_id == key_id(NEW)
    assert both.open(sealed, PLACE) == both.open(sealed, PLACE, under=key_id(OLD)) == TEXT
    for under in (key_id(NEW), key_id(OTHER)):
        with pytest.raises(CannotOpen):
            both.open(sealed, PLACE, under=under)
    with pytest.raises(CannotOpen):
        old.open(both.seal(TEXT, PLACE), PLACE)


def test_a_keys_name_says_nothing_of_it() -> None:
    """It is a part of a keyed hash, and another for each key."""
    assert len({key_id(key) for key in (OLD, NEW, OTHER)}) == 3
    assert key_id(NEW) == fingerprint(NEW)[:16]
    assert NEW.hex()[:8] not in fingerprint(NEW)

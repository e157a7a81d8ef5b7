"""Secrets in the store: encrypted under a key of the environment, each bound to the place where it stands.

Source: NIST SP 800-38D (AES-GCM), 8.3 (random nonces); RFC 5116 (associated data).
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from llmdeal_litellm.policy.keys import key_digest

NONCE_BYTES = 12
KEY_ID_CHARS = 16
FINGERPRINTED = b"llmdeal encryption key"


class CannotOpen(Exception):
    """It was sealed under a key that is not here, for another place, or was changed since."""


def fingerprint(key: bytes) -> str:
    """What a key-encryption key is known by: says nothing about the key."""
    return key_digest(key, FINGERPRINTED).hex()


def key_id(key: bytes) -> str:
    """The short name of a key-encryption key, kept beside what is sealed under it."""
    return fingerprint(key)[:KEY_ID_CHARS]


class Cipher:
    """Seals under the first key, opens under any. Keys have 32 bytes.

    `place` is where a secret stands; it opens for no other.
    """

    def __init__(self, key: bytes, *others: bytes) -> None:
        self.key_id = key_id(key)
        self._ciphers = {key_id(one): AESGCM(one) for one in (key, *others)}

    def seal(self, text: bytes, place: bytes) -> bytes:
        """A fresh nonce and what is sealed with it."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._ciphers[self.key_id].encrypt(nonce, text, place)

    def open(self, sealed: bytes, place: bytes, *, under: str | None = None) -> bytes:
        """What was sealed, under the key of that id or, where it is not known, any. Raises CannotOpen."""
        tried = self._ciphers.values() if under is None else filter(None, [self._ciphers.get(under)])
        for cipher in tried:
            try:
                return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place)
            except (InvalidTag, ValueError):
                # ValueError: too short to have a nonce.
                continue
        raise CannotOpen

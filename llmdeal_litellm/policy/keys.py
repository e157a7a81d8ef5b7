"""What an API key looks like and how it is recognised without being stored.

A key is `lld_` and 32 lower-case hex digits (128 random bits). Only its HMAC-SHA-256 under a pepper
kept outside the database is stored, and lookups are by that digest.
"""

import hmac
import re
from collections.abc import Iterable

from llmdeal_litellm.limits import KEY_HEX_CHARS, KEY_PREFIX

_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +(%b[0-9a-f]{%d})" % (KEY_PREFIX.encode(), KEY_HEX_CHARS))


def bearer_key(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The well-formed key of the one `Authorization` header, or None. Two such headers count as none."""
    given: bytes | None = None
    for name, value in headers:
        if name == b"authorization":
            if given is not None:
                return None
            given = value
    found = _BEARER.fullmatch(given.strip(b" \t")) if given is not None else None
    return found[1] if found else None


def key_digest(pepper: bytes, raw_key: bytes) -> bytes:
    """The 32 bytes under which a key is stored and looked up."""
    return hmac.digest(pepper, raw_key, "sha256")


def new_key(random_16_bytes: bytes) -> str:
    """A key made of 16 random bytes."""
    if len(random_16_bytes) * 2 != KEY_HEX_CHARS:
        raise ValueError("a key is made of 16 random bytes")
    return KEY_PREFIX + random_16_bytes.hex()

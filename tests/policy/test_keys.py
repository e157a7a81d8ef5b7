"""What an API key looks like, where it is read from, and how it is stored."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdeal_litellm.policy.keys import bearer_key, key_digest, new_key

KEY = b"lld_0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    "value",
    [
        b"Bearer " + KEY,
        b"bearer " + KEY,
        b"BEARER " + KEY,
        b"Bearer   " + KEY,
        b" \tBearer " + KEY + b"\t ",
    ],
)
def test_recognised(value: bytes) -> None:
    """The scheme is read in any case, with spaces around."""
    assert bearer_key([(b"host", b"x"), (b"authorization", value)]) == KEY


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        KEY,
        b"Bearer" + KEY,
        b"Bearer\t" + KEY,
        b"Basic " + KEY,
        b"Bearer " + KEY.upper(),
        b"Bearer LLD_" + KEY[4:],
        b"Bearer lld-" + KEY[4:],
        b"Bearer sk-" + KEY[4:],
        b"Bearer " + KEY[:-1],
        b"Bearer " + KEY + b"0",
        b"Bearer " + KEY[:-1] + b"g",
        b"Bearer " + KEY[:-1] + b"A",
        b"Bearer " + KEY + b" x",
        b"Bearer " + KEY + b"\n",
        b"Bearer " + KEY + b"\0",
        b"Bearer " + KEY + b",Bearer " + KEY,
        b"Bearer '" + KEY + b"'",
        b"Bearer " + KEY[:10] + b" " + KEY[10:],
        "Bearer lld_0123456789abcdef0123456789abcde٣".encode(),
        b"Bearer " + b"a" * 100_000,
    ],
    ids=lambda v: repr(v[:60]),
)
def test_not_recognised(value: bytes) -> None:
    """Anything that is not exactly a scheme and a key counts as no key."""
    assert bearer_key([(b"authorization", value)]) is None


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [
            (b"x-api-key", KEY),
            (b"api-key", KEY),
            (b"cookie", b"key=" + KEY),
            (b"proxy-authorization", b"Bearer " + KEY),
        ],
        [(b"authorization", b"Bearer " + KEY), (b"authorization", b"Bearer " + KEY)],
        [(b"authorization", b"Bearer " + KEY), (b"authorization", b"")],
    ],
)
def test_one_header_only(headers: list[tuple[bytes, bytes]]) -> None:
    """Only the one Authorization header is read; two of them are none."""
    assert bearer_key(headers) is None


@given(st.binary(min_size=16, max_size=16))
def test_new_keys_are_recognised(random: bytes) -> None:
    """A key is its prefix and the 128 random bits it was made of."""
    text = new_key(random)

    assert text == "lld_" + random.hex()
    assert len(text) == 36
    assert bearer_key([(b"authorization", b"Bearer " + text.encode())]) == text.encode()


@pytest.mark.parametrize("length", [0, 15, 17, 32])
def test_keys_of_other_lengths(length: int) -> None:
    """A key of fewer random bits is never made."""
    with pytest.raises(ValueError, match="16 random bytes"):
        new_key(bytes(length))


def test_digest() -> None:
    """What is stored is HMAC-SHA-256 under the pepper; without the pepper it says nothing."""
    digest = key_digest(b"pepper", KEY)

    assert digest == hmac.new(b"pepper", KEY, hashlib.sha256).digest()
    assert digest != key_digest(b"other", KEY)
    assert len(digest) == 32

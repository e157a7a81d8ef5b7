"""Which URLs a partner's machine may have."""

import pytest
from llmdeal_litellm.upstream.partner_address import BadPartnerUrl, check_partner_url

ALLOWED = ["gpu1.lan", "127.0.0.1:8000"]


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://gpu1.example", "https://gpu1.example"),
        ("https://gpu1.example:8443/v1/", "https://gpu1.example:8443/v1"),
        ("http://gpu1.lan:8000/v1", "http://gpu1.lan:8000/v1"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
    ],
)
def test_an_address_is_kept_without_its_last_slash(url: str, kept: str) -> None:
    """https anywhere, http where the operator vouches for the host."""
    assert check_partner_url(url, ALLOWED) == kept


@pytest.mark.parametrize(
    "url",
    [
        *("", "gpu1.example", "https://", "https://gpu1.example:99999/v1", "https://gpu1.example:0/v1"),
        *("https://me:secret@gpu1.example/v1", "https://gpu1.example/v1?key=1", "https://gpu1.example/#x"),
        *("http://gpu1.example/v1", "ftp://gpu1.lan/v1", "http://127.0.0.1:8001/v1", "https://gpü.example"),
        *(
            "https://gpu1.example/a b",
            "https://gpu1.example\\@evil.example/",
            f"https://x.example/{'a' * 500}",
        ),
    ],
)
def test_what_is_refused(url: str) -> None:
    """No address, user or query in it, plain http to just anybody, or too long."""
    with pytest.raises(BadPartnerUrl, match="write https://"):
        check_partner_url(url, ALLOWED)

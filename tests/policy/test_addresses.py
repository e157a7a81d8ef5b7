"""Where a partner's machine may be: public https, in one spelling, or what the operator lists."""

import re
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from partner_urls import ALLOWED, ROWS, FakeDns

from llmdeal_litellm.catalog.hosts import AllowedHosts, NotAHost, read_allowed, read_host
from llmdeal_litellm.policy.addresses import NAT64, AddressRefused, is_public, read_partner_address
from llmdeal_litellm.upstream.egress import URL_CHARS_MAX, registrable

NOBODY = AllowedHosts()
LISTED = AllowedHosts(frozenset(map(read_allowed, ALLOWED)))
ANYCAST = [IPv4Address(a) for a in ("192.31.196.1", "192.52.193.1", "192.88.99.1", "192.175.48.1")]


def test_the_table_is_long_enough_and_says_nothing_twice() -> None:
    """At least 120 URLs, of both verdicts."""
    assert len({url for url, _ in ROWS}) == len(ROWS) >= 120
    assert 10 <= sum(not word for _, word in ROWS) <= len(ROWS) - 100


@pytest.mark.parametrize(("url", "word"), ROWS, ids=lambda text: repr(text)[:60])
def test_a_url(url: str, word: str) -> None:
    """Taken, or refused with a sentence that names what is wrong."""
    if not word:
        address = registrable(url, LISTED, FakeDns().lookup)
        assert registrable(address.url, LISTED, FakeDns().lookup) == address, "one spelling means one thing"
        return
    with pytest.raises(AddressRefused) as refused:
        registrable(url, LISTED, FakeDns().lookup)
    assert word in str(refused.value)


def test_a_url_that_its_text_rules_out_is_not_looked_up() -> None:
    """A lookup tells whoever serves the name that we are here."""
    dns = FakeDns()
    for url in ("http://gpu.example.com/", "https://gpu.example.com:22/", "https://printer.local/"):
        with pytest.raises(AddressRefused):
            registrable(url, NOBODY, dns.lookup)
    assert dns.asked == []


def test_what_the_operator_listed_is_not_looked_up() -> None:
    """It is permitted wherever it is, and a machine that is not there yet can be registered."""
    dns = FakeDns()
    registrable("http://gpu1.lan:8000/v1", LISTED, dns.lookup)
    assert dns.asked == []


def test_calls_may_be_longer_than_what_was_registered() -> None:
    """The longest address that is taken can also be called."""
    longest = registrable("https://gpu.example.com/".ljust(URL_CHARS_MAX, "v"), NOBODY, FakeDns().lookup)
    assert read_partner_address(f"{longest.url}/chat/completions", NOBODY).host == longest.host


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://GPU.example.com:443/v1/", "https://gpu.example.com/v1"),
        ("https://gpu.example.com", "https://gpu.example.com"),
        ("https://gpu.example.com:8443/", "https://gpu.example.com:8443"),
        (
            "https://[2606:2800:0220:0001:0248:1893:25C8:1946]/v1",
            "https://[2606:2800:220:1:248:1893:25c8:1946]/v1",
        ),
    ],
)
def test_the_one_spelling(text: str, url: str) -> None:
    """Two registrations of one machine are seen to be one."""
    assert read_partner_address(text, NOBODY).url == url


@pytest.mark.parametrize(
    "text", ["", "a b", "http://x", "x:", "x:0", "x:65536", "127.1", "::1", "[::1", "[::1]:", "é"]
)
def test_what_the_operator_cannot_list(text: str) -> None:
    """Entries have one meaning too."""
    with pytest.raises(NotAHost):
        read_allowed(text)


@given(st.ip_addresses(v=4))
def test_ipv4_is_no_more_public_than_python_says(address: IPv4Address) -> None:
    """Ours is the same registry; what is public is also global, unicast and not reserved."""
    if is_public(address):
        assert address.is_global
        assert not any((address.is_multicast, address.is_reserved, address.is_private))


@given(st.ip_addresses(v=6))
def test_ipv6_is_no_more_public_than_python_says(address: IPv6Address) -> None:
    """As for IPv4; those with an IPv4 address in them are judged by that one."""
    if is_public(address) and address.ipv4_mapped is None and address not in NAT64:
        assert address.is_global
        assert not any((address.is_multicast, address.is_reserved, address.is_private, address.is_site_local))


@given(st.ip_addresses(v=4), st.integers(0, 2**80 - 1))
def test_an_embedded_address_decides(address: IPv4Address, rest: int) -> None:
    """Mapped, translated or tunnelled: where the packets end is what counts."""
    number = int(address)
    for wrapped in (0xFFFF << 32 | number, 0x64FF9B << 96 | number, 0x2002 << 112 | number << 80 | rest):
        assert is_public(IPv6Address(wrapped)) == is_public(address)


@pytest.mark.parametrize("address", ANYCAST, ids=str)
def test_services_of_the_network_are_nobodys_machine(address: IPv4Address) -> None:
    """Global by the registry, and refused all the same."""
    assert not is_public(address)


@given(st.text(max_size=40) | st.from_regex(r"https?://[ -~]{1,30}", fullmatch=True))
def test_any_text_has_a_verdict(text: str) -> None:
    """Refused in a sentence or taken in its one spelling; nothing else is raised."""
    try:
        address = read_partner_address(text, NOBODY)
    except AddressRefused:
        return
    assert address.scheme == "https"
    assert read_partner_address(address.url, NOBODY) == address


@given(st.from_regex(r"[0-9a-fx.]{1,20}", fullmatch=True))
def test_numbers_are_an_address_in_one_spelling_or_none(text: str) -> None:
    """No text whose last part is a number is looked up as a name."""
    try:
        host = read_host(text)
    except NotAHost:
        return
    last = host.text.rpartition(".")[2]
    # As the URL standard says what ends in a number: `0xx` is a name to everyone.
    assert host.address is not None or not re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last)

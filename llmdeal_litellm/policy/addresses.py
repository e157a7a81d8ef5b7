"""Where a partner's machine may be: what its URL may say, and which addresses its name may resolve to.

A partner's URL is written by somebody else, and the gateway sends customers' prompts there from within the
operator's network. So it is https to a public unicast address, whatever the spelling, unless the operator's
config lists the host. Rules are allow-lists: what has no single meaning, or is in no list, is refused.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from llmdeal_litellm.catalog.hosts import AllowedHosts, Host, NotAHost, read_host, read_port

DEFAULT_PORTS = {"https": 443, "http": 80}
PORTS = (range(443, 444), range(8000, 9000), range(11434, 11435), range(30_000, 65_536))
"""443, what inference servers listen on (vLLM 8000, llama.cpp 8080, Ollama 11434, SGLang 30000), and the
ports that rented machines are given. Shells, mail, databases and caches (22, 25, 3306, 5432, 6379, 9200,
11211, 27017) are elsewhere."""
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[^\[\]/]*\]|[^\[\]/:]*)(?::(?P<port>[^/]*))?(?P<path>/.*)?"
)
_PATH = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*/?")

LOCAL_NAMES = frozenset(
    "localhost local localdomain internal intranet lan home corp private "
    "arpa test example invalid onion alt".split()
)
"""Last labels that the public DNS does not serve, or serves for itself. Source: IANA, Special-Use Domain
Names; ICANN's reserved `internal`; what routers and companies use."""

NOT_PUBLIC_IPV4 = tuple(
    map(
        IPv4Network,
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 "
        "192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 "
        "198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4".split(),
    )
)
"""Source: IANA IPv4 Special-Purpose Address Registry, all of it, and multicast (RFC 5771)."""
PUBLIC_IPV6 = IPv6Network("2000::/3")
"""The one block that IANA gives out as global unicast; everything else of IPv6 is refused."""
NOT_PUBLIC_IPV6 = tuple(map(IPv6Network, "2001::/23 2001:db8::/32 2620:4f:8000::/48 3fff::/20".split()))
"""Source: IANA IPv6 Special-Purpose Address Registry, as far as it lies in 2000::/3. The first is where
Teredo, benchmarking and ORCHID are."""
NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are the IPv4 address that a translator connects to. An IPv6-only gateway sees
the names of IPv4-only machines so."""
SIX_TO_FOUR = IPv6Network("2002::/16")
"""RFC 3056: bits 16 to 48 are the IPv4 address that the packets go to."""


class AddressRefused(Exception):
    """A partner may not have this address; the message says why, and what would be taken."""


@dataclass(frozen=True, slots=True)
class PartnerAddress:
    """A URL below which a partner's machine answers. `path` is empty, or begins with a slash and ends with
    none."""

    scheme: str
    host: Host
    port: int
    path: str

    @property
    def url(self) -> str:
        """Its one spelling."""
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host.bracketed}{port}{self.path}"


@lru_cache(maxsize=1024)
def read_partner_address(text: str, allowed: AllowedHosts) -> PartnerAddress:
    """A partner's URL, when all that its text shows is permitted. What a name resolves to is judged by
    `require_permitted`, again at every connect. Raises AddressRefused."""
    address = _parsed(text)
    host = address.host
    if allowed.covers(host, address.port):
        return address
    if address.scheme != "https":
        raise AddressRefused(f"'{address.scheme}' is not encrypted; use https, {_or_allow(host)}")
    if not any(address.port in ports for ports in PORTS):
        raise AddressRefused(
            f"port {address.port} is not one of 443, 8000 to 8999, 11434, 30000 to 65535; use one of these, "
            f"{_or_allow(host)}"
        )
    if host.address is not None:
        require_permitted(host, address.port, [host.text], allowed)
    elif "." not in host.text or host.text.rpartition(".")[2] in LOCAL_NAMES:
        raise AddressRefused(f"'{host.text}' is not a name of the public DNS; use one, {_or_allow(host)}")
    return address


def require_permitted(host: Host, port: int, found: Iterable[str], allowed: AllowedHosts) -> None:
    """Refuse a host when one of the IP addresses that it is, or resolves to, is not public. One is enough:
    which of them a connection takes is not ours to say. Raises AddressRefused."""
    if allowed.covers(host, port):
        return
    for text in found:
        if not is_public(ip_address(text)):
            raise AddressRefused(
                f"'{host.text}' is at {text}, which is no public address; use one, {_or_allow(host)}"
            )


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether it is a unicast address of the public internet; by the IPv4 address in it, if there is one."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in NOT_PUBLIC_IPV4)
    if address.scope_id is not None:
        return False
    embedded = _embedded(address)
    if embedded is not None:
        return is_public(embedded)
    return address in PUBLIC_IPV6 and not any(address in network for network in NOT_PUBLIC_IPV6)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that packets to this one reach in the end."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.sixtofour if address in SIX_TO_FOUR else None


def _parsed(text: str) -> PartnerAddress:
    """The parts of a URL. Raises AddressRefused for what has more than one meaning, or none."""
    parts = _URL.fullmatch(text)
    if parts is None:
        raise AddressRefused("the address must be https://host[:port][/path]")
    for mark, meaning in (("@", "a user name"), ("?", "a query"), ("#", "a fragment"), ("%", "an escape")):
        if mark in text:
            raise AddressRefused(f"the address has {meaning} ('{mark}'); leave it out")
    if not _PATH.fullmatch(parts["path"] or ""):
        raise AddressRefused("a path has letters, digits and '-._~' between slashes, and no '.' or '..'")
    try:
        host = read_host(parts["host"])
        port = DEFAULT_PORTS[parts["scheme"]] if parts["port"] is None else read_port(parts["port"])
    except NotAHost as bad:
        raise AddressRefused(f"the address must be https://host[:port][/path]; {bad}") from None
    return PartnerAddress(parts["scheme"], host, port, (parts["path"] or "").rstrip("/"))


def _or_allow(host: Host) -> str:
    return f"or let the operator list '{host.bracketed}' under llmdeal.partners.allowed_hosts"

"""Hosts as the config and partners' addresses write them, read strictly into one spelling each.

Only what has a single meaning is read: a name of letters, digits and hyphens (RFC 1123 section 2.1), a
dotted IPv4 address, or an IPv6 address in brackets. `127.1`, `0x7f.1`, `2130706433`, `0177.0.0.1`, zone ids,
names with a dot at the end and names that are not ASCII are refused, for programs read them differently.
"""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

NAME_CHARS_MAX = 253
PORT_MAX = 65_535
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT = re.compile(r"[1-9][0-9]{0,4}")


class NotAHost(ValueError):
    """The text has no single meaning as a host; the message says what to write."""


@dataclass(frozen=True, slots=True)
class Host:
    """`text` is its one spelling, without brackets; `address` is there when it is an IP address."""

    text: str
    address: IPv4Address | IPv6Address | None

    @property
    def bracketed(self) -> str:
        """As it stands in a URL."""
        return f"[{self.text}]" if ":" in self.text else self.text


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """Hosts that the operator vouches for: pairs of a host's text and a port, None being any port."""

    entries: frozenset[tuple[str, int | None]] = frozenset()

    def covers(self, host: Host, port: int) -> bool:
        """Whether the operator listed this host, with this port or with none."""
        return (host.text, port) in self.entries or (host.text, None) in self.entries


def read_host(text: str) -> Host:
    """A host as a URL writes it, an IPv6 address in brackets. Raises NotAHost."""
    if not text.isascii():
        raise NotAHost("a host is written in ASCII; names of other letters as xn--…")
    if text.startswith("["):
        return _ipv6(text)
    name = text.lower()
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _ipv4(name)
    if len(name) > NAME_CHARS_MAX or not all(_LABEL.fullmatch(label) for label in labels):
        raise NotAHost(
            "a host is a name of letters, digits, '-' and '.', or an IP address (IPv6 in brackets)"
        )
    return Host(name, None)


def read_port(text: str) -> int:
    """A port in its one spelling, 1 to 65535. Raises NotAHost."""
    if not _PORT.fullmatch(text) or int(text) > PORT_MAX:
        raise NotAHost("a port is a number from 1 to 65535 without zeros in front")
    return int(text)


def read_allowed(text: str) -> tuple[str, int | None]:
    """An entry of `allowed_hosts`: `host` or `host:port`. Raises NotAHost."""
    end = text.rfind(":")
    if end > text.rfind("]"):
        return read_host(text[:end]).text, read_port(text[end + 1 :])
    return read_host(text).text, None


def _ipv4(text: str) -> Host:
    try:
        address = IPv4Address(text)
    except AddressValueError:
        raise NotAHost(
            "an IPv4 address is four decimal numbers from 0 to 255 without zeros in front"
        ) from None
    return Host(str(address), address)


def _ipv6(text: str) -> Host:
    try:
        address = IPv6Address(text[1:-1])
    except AddressValueError:
        address = None
    if address is None or address.scope_id is not None or not text.endswith("]"):
        raise NotAHost("an IPv6 address stands in brackets and has no zone id")
    return Host(str(address), address)

"""Connections to partners' machines: only to addresses that are permitted, judged again at every connect.

A name is looked up once for a connection, every address found is judged, and the connection goes to one of
exactly these: an answer of the DNS that changes afterwards changes nothing. The host stays the URL's own for
TLS and for the Host header. Each connection is for one request, so that a machine which answers twice, or
longer than it said, cannot put an answer into another caller's request.
"""

import asyncio
import functools
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, RawResponseMessage

from llmdeal_litellm.catalog.hosts import AllowedHosts, Host
from llmdeal_litellm.catalog.model import Deadlines
from llmdeal_litellm.policy.addresses import (
    AddressRefused,
    PartnerAddress,
    read_partner_address,
    require_permitted,
)
from llmdeal_litellm.upstream.codecs.wire import UpstreamCall
from llmdeal_litellm.upstream.failures import NotPermitted
from llmdeal_litellm.upstream.transport import (
    CONNECTIONS_MAX,
    CONNECTIONS_PER_HOST_MAX,
    Incoming,
    Sent,
    Transport,
)

URL_CHARS_MAX = 500
"""Of what is registered; calls add their path to it."""
LOOKUPS_AT_ONCE = 8
"""Threads for the DNS. They are partners' own: a name server that does not answer holds up nobody else."""
LOOKUP_KEPT_S = 10
INTERIM_ANSWERS_MAX = 8
"""Answers 1xx before the one that counts; more than one or two are nobody's honest need."""

Lookup = Callable[[str], Sequence[str]]
"""The IP addresses of a name. Raises OSError."""


def system_lookup(name: str) -> Sequence[str]:
    """What the machine's resolver says."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(address[0]) for *_, address in found]


def registrable(text: str, allowed: AllowedHosts, lookup: Lookup = system_lookup) -> PartnerAddress:
    """A URL that a partner may register: permitted by its text and by what its name resolves to now.

    Blocks while the name is looked up, unless the operator listed it; connects to nothing. Raises
    AddressRefused.
    """
    if len(text) > URL_CHARS_MAX:
        raise AddressRefused(f"the address is longer than {URL_CHARS_MAX} characters")
    address = read_partner_address(text, allowed)
    if address.host.address is None and not allowed.covers(address.host, address.port):
        try:
            found = lookup(address.host.text)
        except OSError:
            raise AddressRefused(f"the name '{address.host.text}' cannot be looked up; check it") from None
        require_permitted(address.host, address.port, found, allowed)
    return address


class PartnerTransport(Transport):
    """The transport to partners' machines. Created on the event loop that uses it."""

    def __init__(self, allowed: AllowedHosts, lookup: Lookup = system_lookup) -> None:
        self._allowed = allowed
        self._resolver = _JudgingResolver(allowed, lookup)
        super().__init__(_PartnerConnector(self._resolver), connecting_within=_connecting_within)

    async def close(self) -> None:
        """See `Transport.close`."""
        await super().close()
        await self._resolver.close()

    async def _open(
        self, call: UpstreamCall, deadlines: Deadlines, first_byte_s: float, most_bytes: int, sent: Sent
    ) -> Incoming:
        try:
            # Here, since the client asks no resolver about a host that is an IP address.
            read_partner_address(call.url, self._allowed)
        except AddressRefused as refused:
            raise NotPermitted(str(refused)) from None
        return await super()._open(call, deadlines, first_byte_s, most_bytes, sent)


class _JudgingResolver(AbstractResolver):
    """Looks names up, and passes on only what is permitted. Raises OSError, and NotPermitted, which the
    client leaves as it is."""

    def __init__(self, allowed: AllowedHosts, lookup: Lookup) -> None:
        self._allowed = allowed
        self._lookup = lookup
        self._threads = ThreadPoolExecutor(LOOKUPS_AT_ONCE, "partner-dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """See `AbstractResolver`."""
        found = await asyncio.get_running_loop().run_in_executor(self._threads, self._lookup, host)
        try:
            require_permitted(Host(host, None), port, found, self._allowed)
        except AddressRefused as refused:
            raise NotPermitted(str(refused)) from None
        if not found:
            raise OSError("a name without an address")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in found
        ]

    async def close(self) -> None:
        """Wait for no lookup; there may be one that takes long."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class _PartnerConnector(aiohttp.TCPConnector):
    """Connections for one request each. What was judged is kept for a few seconds, so that a name is looked
    up once for all who ask at the same time."""

    def __init__(self, resolver: AbstractResolver) -> None:
        super().__init__(
            limit=CONNECTIONS_MAX,
            limit_per_host=CONNECTIONS_PER_HOST_MAX,
            resolver=resolver,
            ttl_dns_cache=LOOKUP_KEPT_S,
            force_close=True,
        )
        # aiohttp has no public place for this; a test floods a connection and sees it closed.
        self._factory = functools.partial(_Bounded, loop=self._loop)  # type: ignore[assignment] # invariant


class _Bounded(ResponseHandler):
    """A connection that is given up when it has interim answers without end. The client reads over them for
    as long as they come, and they cost us more than whoever sends them."""

    _answers = 0

    def feed_data(self, data: tuple[RawResponseMessage, aiohttp.StreamReader], size: int = 0) -> None:
        """The head of an answer is there."""
        self._answers += 1
        if self._answers <= INTERIM_ANSWERS_MAX + 1:
            super().feed_data(data, size)
        elif self.transport is not None:
            self.set_exception(HttpProcessingError(code=0, message="interim answers without end"))
            self.transport.abort()


@functools.lru_cache
def _connecting_within(seconds: float) -> aiohttp.ClientTimeout:
    """Looking up, connecting and TLS together: a name with many addresses, or one that a name server keeps
    back, costs no more than a single address."""
    return aiohttp.ClientTimeout(total=None, connect=seconds, sock_connect=seconds)

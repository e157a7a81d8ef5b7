"""Registers and calls partners' URLs in a process of its own that records every `connect` of a socket.

Nothing leaves the machine: a recorded connect to anything but this process's own servers is refused at once.
Prints one JSON object. Argument: the event loop to use, `asyncio` or `uvloop`.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from partner_urls import ALLOWED, PUBLIC, ROWS, FakeDns  # noqa: E402
from raw_upstream import http, raw_upstream  # noqa: E402

from llmdeal_litellm.catalog.hosts import AllowedHosts, read_allowed  # noqa: E402
from llmdeal_litellm.catalog.model import Deadlines  # noqa: E402
from llmdeal_litellm.policy.addresses import AddressRefused  # noqa: E402
from llmdeal_litellm.upstream.codecs.wire import UpstreamCall  # noqa: E402
from llmdeal_litellm.upstream.egress import PartnerTransport, registrable  # noqa: E402
from llmdeal_litellm.upstream.failures import UpstreamFailure  # noqa: E402

DEADLINES = Deadlines(connect_s=5, first_byte_s=5, silence_s=5, answer_s=10)
REBOUND = "flips.example.com"
STOLEN = "127.0.0.1"


class Recorder:
    """Every address that a socket of this process is to connect to, and every name that Python looks up."""

    def __init__(self) -> None:
        self.own: set[int] = set()
        self._connects: list[str] = []
        self._lookups: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, details: Any) -> None:
        if event == "socket.getaddrinfo":
            self._lookups.append(str(details[0]))
        if event != "socket.connect" or not isinstance(details[1], tuple):
            return
        host, port = details[1][:2]
        self._connects.append(f"{host}:{port}")
        if port not in self.own:
            raise ConnectionRefusedError("recorded")

    @contextmanager
    def heard(self) -> Iterator[dict[str, Any]]:
        """What happens meanwhile, in the dictionary afterwards."""
        found: dict[str, Any] = {}
        self._connects, self._lookups = [], []
        yield found
        found |= {"connects": self._connects, "lookups": self._lookups}


async def called(transport: PartnerTransport, url: str) -> str:
    """How a call ends: `status N`, or the class of our failure."""
    headers = {"authorization": "Bearer sk-partner", "accept-encoding": "identity"}
    call = UpstreamCall(f"{url}/chat/completions", headers, b"{}")
    try:
        reply = await transport.fetch(call, DEADLINES, lambda: None, most_bytes=1000)
    except UpstreamFailure as failed:
        return type(failed).__name__
    return f"status {reply.status}"


async def rows(recorder: Recorder) -> dict[str, dict[str, Any]]:
    """Each URL of the table: registered, and called whether it could be registered or not."""
    allowed = AllowedHosts(frozenset(map(read_allowed, ALLOWED)))
    dns = FakeDns()
    transport = PartnerTransport(allowed, dns.lookup)
    outcome = {}
    for url, _ in ROWS:
        with recorder.heard() as found:
            try:
                base = registrable(url, allowed, dns.lookup).url
                found["registered"] = True
            except AddressRefused:
                base = url.rstrip("/")
                found["registered"] = False
            found["ended"] = await called(transport, base)
        outcome[url] = found
    await transport.close()
    return outcome


Scene = Callable[[Recorder], Awaitable[dict[str, Any]]]


async def redirect(recorder: Recorder) -> dict[str, Any]:
    """A registered machine that sends us elsewhere, to an address and to a name."""
    found: dict[str, Any] = {}
    async with raw_upstream(http(b"{}")) as private:
        recorder.own.add(private.port)
        for status in ("301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"):
            for target in (private.url, "http://169.254.169.254/latest", "https://gpu.example.com"):
                answer = http(b"", f"Location: {target}", status=status)
                async with raw_upstream(answer) as machine:
                    recorder.own.add(machine.port)
                    allowed = AllowedHosts(frozenset({("127.0.0.1", machine.port)}))
                    transport = PartnerTransport(allowed, FakeDns().lookup)
                    with recorder.heard() as heard:
                        ended = await called(transport, machine.url)
                    await transport.close()
                    elsewhere = [c for c in heard["connects"] if c != f"127.0.0.1:{machine.port}"]
                    found[f"{status} to {target.split(':')[0]}:…{len(found)}"] = [ended, elsewhere]
        found["connections to the private one"] = private.connections
    return found


async def rebinding(recorder: Recorder) -> dict[str, Any]:
    """A name that is public when it is registered, and ours a moment later."""
    found: dict[str, Any] = {}
    async with raw_upstream(http(b"{}")) as private:
        recorder.own.add(private.port)
        url = f"https://{REBOUND}:{private.port}"
        for flip, answers in {
            "at once": [[PUBLIC], [STOLEN]],
            "after the first call": [[PUBLIC], [PUBLIC], [STOLEN]],
            "to both": [[PUBLIC], [PUBLIC, STOLEN]],
        }.items():
            dns = FakeDns({REBOUND: answers})
            registrable(f"https://{REBOUND}:8443", AllowedHosts(), dns.lookup)
            ends = []
            with recorder.heard() as heard:
                for _ in range(2):
                    # A new one each time, for the answers of the DNS are kept for some seconds.
                    transport = PartnerTransport(AllowedHosts(), dns.lookup)
                    ends.append(
                        await called(transport, url if private.port >= 30_000 else f"https://{REBOUND}")
                    )
                    await transport.close()
            found[flip] = {"ended": ends, "asked": len(dns.asked), **heard}
        found["connections to the private one"] = private.connections
    return found


async def run() -> dict[str, Any]:
    """Everything."""
    recorder = Recorder()
    return {
        "rows": await rows(recorder),
        "redirect": await redirect(recorder),
        "rebinding": await rebinding(recorder),
    }


if __name__ == "__main__":
    runner = uvloop.run if sys.argv[1] == "uvloop" else asyncio.run
    print(json.dumps(runner(run())))

"""HTTP to partners' machines, beyond what test_transport.py asks of both: one request a connection, and
nothing that a machine or its name server does holds up anybody else."""

import asyncio
import contextlib
import gzip
import ssl
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from partner_urls import PUBLIC, FakeDns
from raw_upstream import CHUNKED, RawUpstream, chunk, http, raw_upstream

from llmdeal_litellm.catalog.hosts import AllowedHosts
from llmdeal_litellm.catalog.model import Deadlines
from llmdeal_litellm.upstream.codecs.wire import UpstreamCall
from llmdeal_litellm.upstream.egress import LOOKUPS_AT_ONCE, PartnerTransport
from llmdeal_litellm.upstream.failures import BrokenAnswer, NotPermitted, NotReached, UpstreamFailure

PATIENT = Deadlines(connect_s=5, first_byte_s=5, silence_s=5, answer_s=10)
MOST = 100_000
PATIENCE_S = 5.0
NAME = "gpu1.lan"
LISTED = AllowedHosts(frozenset({("127.0.0.1", None), (NAME, None)}))


@pytest.fixture
async def transport() -> AsyncIterator[PartnerTransport]:
    """That of partners, to servers of this test: by address, and by a name."""
    transport = PartnerTransport(LISTED, FakeDns({NAME: [["127.0.0.1"]]}).lookup)
    yield transport
    await transport.close()


def unheard() -> None:
    """For tests that do not ask when a request was written."""


async def fetched(transport: PartnerTransport, call: UpstreamCall, deadlines: Deadlines = PATIENT) -> bytes:
    """The body of a plain answer."""
    return (await transport.fetch(call, deadlines, unheard, most_bytes=MOST)).body


async def streamed(transport: PartnerTransport, call: UpstreamCall) -> bytes:
    """All pieces of a stream."""
    with await transport.stream(call, PATIENT, unheard) as incoming:
        return await incoming.rest()


async def test_each_request_has_a_connection_of_its_own(transport: PartnerTransport) -> None:
    """Also after a complete answer, and the machine is told so."""
    whole = CHUNKED + chunk(b"data: a\n\n") + chunk(b"")
    async with raw_upstream(whole) as upstream:
        for _ in range(3):
            assert await fetched(transport, upstream.call()) == b"data: a\n\n"
            assert await streamed(transport, upstream.call()) == b"data: a\n\n"
        assert (len(upstream.requests), upstream.connections) == (6, 6)
        assert {request["connection"] for request in upstream.requests} == {"close"}


@pytest.mark.parametrize(
    "tail", [http(b"stolen"), b"stolen", b"HTTP/1.1 200 OK\r\n"], ids=["answer", "bytes", "half"]
)
async def test_what_follows_an_answer_is_nobodys(transport: PartnerTransport, tail: bytes) -> None:
    """A second answer, or more than the length said, is not read as the next request's."""

    async def once(upstream: RawUpstream, writer: asyncio.StreamWriter) -> None:
        body = f"mine {len(upstream.requests)}".encode()
        writer.write(http(body) + (tail if len(upstream.requests) == 1 else b""))

    async with raw_upstream(once) as upstream:
        with contextlib.suppress(UpstreamFailure):  # the whole of it refused is as good
            assert await fetched(transport, upstream.call()) == b"mine 1"
        assert await fetched(transport, upstream.call()) == b"mine 2"


async def test_interim_answers_without_end_are_given_up(transport: PartnerTransport) -> None:
    """They never end a wait of the client's own, and each costs more to read than to send."""
    interim = b"HTTP/1.1 103 Early Hints\r\n\r\n"

    async def flood(upstream: RawUpstream, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            writer.write(interim * 1000)
            await writer.drain()

    async with asyncio.timeout(PATIENCE_S), raw_upstream(flood) as upstream:
        for read in (fetched, streamed):
            with pytest.raises(NotReached):
                await read(transport, upstream.call())
            await upstream.left.wait()
            upstream.left.clear()
    async with raw_upstream(interim * 2 + http(b"{}")) as upstream:
        assert await fetched(transport, upstream.call()) == b"{}"


@pytest.mark.parametrize(
    "answer",
    [
        http(b"{}", *(f"X-{n}: {n}" for n in range(10_000))),
        http(b"{}", "X: " + "x" * 70_000),
        http(b"{}", "Content-Length: 5"),
        http(b"{}", "Transfer-Encoding: chunked"),
        http(b"{}", "A b: c"),
        http(b"{}", "A: \x00b"),
    ],
    ids=["10,000 headers", "a long one", "two lengths", "length and chunks", "blank", "NUL"],
)
async def test_a_head_that_is_out_of_order_is_no_answer(transport: PartnerTransport, answer: bytes) -> None:
    """The connection is dropped on any framing that has two meanings."""
    async with asyncio.timeout(PATIENCE_S), raw_upstream(answer) as upstream:
        with pytest.raises((NotReached, BrokenAnswer)):
            await fetched(transport, upstream.call())


async def test_a_bomb_is_not_inflated(transport: PartnerTransport) -> None:
    """Under a name of an encoding it is refused, under none it is so many bytes."""
    bomb = gzip.compress(bytes(10 * 2**20))
    async with raw_upstream(http(bomb, "Content-Encoding: gzip")) as upstream:
        for read in (fetched, streamed):
            with pytest.raises(BrokenAnswer):
                await read(transport, upstream.call())
        assert {request["accept-encoding"] for request in upstream.requests} == {"identity"}
    async with raw_upstream(http(bomb)) as upstream:
        assert await fetched(transport, upstream.call()) == bomb


async def test_a_name_is_looked_up_once_for_all_who_ask_together() -> None:
    """And for the few seconds in which what was judged is kept."""
    dns = FakeDns({NAME: [["127.0.0.1"]]})
    transport = PartnerTransport(LISTED, dns.lookup)
    async with raw_upstream(http(b"{}")) as upstream:
        call = replace(upstream.call(), url=f"http://{NAME}:{upstream.port}/v1")
        await asyncio.gather(*(fetched(transport, call) for _ in range(20)))
        assert {request["host"] for request in upstream.requests} == {f"{NAME}:{upstream.port}"}
        assert upstream.connections == 20
    await transport.close()
    assert dns.asked == [NAME]


async def test_a_refusal_is_told_to_all_who_wait_for_it() -> None:
    """Each of the callers has the failure; none hangs, and the refusal is not kept."""
    dns = FakeDns({"flips.example.com": [["10.0.0.1"], [PUBLIC, "10.0.0.1"]]})
    transport = PartnerTransport(LISTED, dns.lookup)
    call = UpstreamCall("https://flips.example.com/v1", {}, b"{}")
    for _ in range(2):
        ends = await asyncio.gather(*(fetched(transport, call) for _ in range(5)), return_exceptions=True)
        assert {type(end) for end in ends} == {NotPermitted}
    await transport.close()
    assert len(dns.asked) == 2


async def test_a_name_server_that_does_not_answer_holds_up_only_its_own() -> None:
    """A lookup has the connect deadline; the machine's other lookups and threads are free meanwhile."""
    answering = threading.Event()

    def lookup(name: str) -> list[str]:
        if name != NAME:
            answering.wait(PATIENCE_S)
        return ["127.0.0.1"]

    transport = PartnerTransport(LISTED, lookup)
    hung = [UpstreamCall(f"https://gpu{n}.example.com/v1", {}, b"{}") for n in range(LOOKUPS_AT_ONCE - 1)]
    impatient = replace(PATIENT, connect_s=0.1)
    async with raw_upstream(http(b"{}")) as upstream:
        call = replace(upstream.call(), url=f"http://{NAME}:{upstream.port}/v1")
        ends = await asyncio.gather(
            # Ten callers of each such machine, and all of their lookups take one thread.
            *(fetched(transport, one, impatient) for one in hung for _ in range(10)),
            fetched(transport, call),
            asyncio.to_thread(str),
            return_exceptions=True,
        )
    answering.set()
    await transport.close()
    assert ends[-2:] == [b"{}", ""]
    assert {type(end) for end in ends[:-2]} == {NotReached}


async def test_a_cancelled_lookup_is_nobody_elses() -> None:
    """Who hangs up while a name is looked up does not take the answer from those who wait for the same."""
    answering = threading.Event()

    def lookup(name: str) -> list[str]:
        answering.wait(PATIENCE_S)
        return ["127.0.0.1"]

    transport = PartnerTransport(LISTED, lookup)
    async with raw_upstream(http(b"{}")) as upstream:
        call = replace(upstream.call(), url=f"http://{NAME}:{upstream.port}/v1")
        gone, stays = (asyncio.create_task(fetched(transport, call)) for _ in range(2))
        await asyncio.wait({gone}, timeout=0.05)  # until both wait for the lookup
        gone.cancel()
        await asyncio.wait({gone})
        answering.set()
        assert await stays == b"{}"
        assert gone.cancelled()
    await transport.close()


def self_signed(folder: Path, name: str) -> ssl.SSLContext:
    """A server's side of TLS under a certificate that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem")
    return context


async def test_tls_is_asked_for_the_name_and_not_taken_from_anybody(
    transport: PartnerTransport, tmp_path: Path
) -> None:
    """The connection goes to the judged address, the certificate must be the name's, and nothing is sent
    before it is."""
    asked: list[str | None] = []
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.read(1))
        writer.close()

    def note(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        asked.append(name)

    context = self_signed(tmp_path, NAME)
    context.sni_callback = note
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(NotReached, match="certificate is not accepted"):
        await fetched(transport, UpstreamCall(f"https://{NAME}:{port}/v1", {}, b"{}"))
    server.close()
    assert asked == [NAME]
    assert requests in ([], [b""])

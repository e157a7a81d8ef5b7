"""A partner's machine that means ill: its customers get an answer of ours for nothing, nobody is sent
elsewhere, and it is left alone."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pytest
from answers import chunks_of, content_of, error_of
from consortium_gateway import ConsortiumGateway, serving
from hostile_machine import Answer, HostileMachine, completion, hostile_machine, http
from machines import QUICK

from llmdeal_litellm.accounts.partners import PartnerState

QUIET = {"connect_s": 5, "first_byte_s": 1.5, "silence_s": 1.5, "answer_s": 2.0}
ONE_FAILURE = {"failures": 1, "calls": 1, "window_s": 3600, "open_s": 3600}
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n"


def always(answer: bytes) -> Answer:
    """The same bytes to everybody."""

    def write(out: BinaryIO, _: int) -> None:
        out.write(answer)

    return write


def without_end(begin: bytes, again: bytes) -> Answer:
    """Bytes until the client leaves."""

    def write(out: BinaryIO, _: int) -> None:
        out.write(begin)
        while True:
            out.write(again)

    return write


def closing(answer: bytes) -> Answer:
    """Bytes, and the end of the connection."""

    def write(out: BinaryIO, _: int) -> None:
        out.write(answer)
        raise ConnectionAbortedError

    return write


BOMB = gzip.compress(bytes(10 * 2**20))
REFUSED = (502, "upstream_error")
ANSWERS: dict[str, tuple[Answer, tuple[int, str]]] = {
    "a bomb": (always(http(BOMB, "Content-Encoding: gzip")), REFUSED),
    "a bomb without a label": (always(http(BOMB)), REFUSED),
    "10,000 headers": (always(http(b"{}", *(f"X-{n}: {n}" for n in range(10_000)))), REFUSED),
    "interim answers without end": (without_end(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 500), REFUSED),
    "a body without end": (without_end(CHUNKED, b"10000\r\n" + b" " * 2**16 + b"\r\n"), REFUSED),
    "HTML": (always(http(b"<html>private</html>", "Content-Type: text/html")), REFUSED),
    "less than its length": (closing(http(completion("half"), length=10_000)), REFUSED),
    "two lengths": (always(http(completion("two"), "Content-Length: 5")), REFUSED),
    "length and chunks": (always(http(completion("both"), "Transfer-Encoding: chunked")), REFUSED),
    "no HTTP": (always(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), REFUSED),
    "an upgrade": (always(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"), REFUSED),
    "a refusal of our key": (always(http(b"{}", status="401 Unauthorized")), REFUSED),
}


@pytest.fixture(scope="module")
def machine() -> Iterator[HostileMachine]:
    """One for all tests of this file."""
    with hostile_machine() as machine:
        yield machine


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, machine: HostileMachine) -> Iterator[ConsortiumGateway]:
    """One for all, which listed the machine and nothing else; a single failure opens a breaker."""
    partners = {**QUICK, "allowed_hosts": [f"127.0.0.1:{machine.port}"], "probe_every_s": 600, "poll_s": 0.05}
    folder = tmp_path_factory.mktemp("hostile")
    with serving(folder, partners=partners, deadlines=QUIET, breaker=ONE_FAILURE) as gateway:
        yield gateway


@contextmanager
def registered(gateway: ConsortiumGateway, machine: HostileMachine, answer: Answer) -> Iterator[str]:
    """The machine under a new name, with a breaker that has seen nothing yet; yields its deployment."""
    name = gateway.registry.add(machine.url)
    deployment = gateway.registry.is_soon(name, PartnerState.ACTIVE).deployment
    gateway.served(name)
    machine.answer = answer
    yield deployment
    gateway.registry.remove(name)


def assert_free_and_left_alone(gateway: ConsortiumGateway, deployment: str) -> None:
    """The request's hold was given back, and the breaker has counted the failure."""
    end = list(gateway.ends().values())[-1]
    assert (end["kind"], end["rule"], end["served_by"]) == ("void", "failed_before_output", deployment)
    assert gateway.breaker_movement((deployment,)) == ("counts",)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("what", ANSWERS)
def test_what_cannot_be_an_answer(
    gateway: ConsortiumGateway, machine: HostileMachine, what: str, stream: bool
) -> None:
    """A refusal of ours, never a 500, and nothing to pay."""
    answer, wanted = ANSWERS[what]
    with registered(gateway, machine, answer) as deployment:
        response = gateway.chat(gateway.customer(), stream=stream)
        assert (response.status_code, error_of(response)["code"]) == wanted
        assert_free_and_left_alone(gateway, deployment)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_silence(gateway: ConsortiumGateway, machine: HostileMachine, stream: bool) -> None:
    """It has its deadline."""

    def hang(out: BinaryIO, _: int) -> None:
        machine.leaving.wait()

    with registered(gateway, machine, hang) as deployment:
        response = gateway.chat(gateway.customer(), stream=stream)
        assert (response.status_code, error_of(response)["code"]) == (504, "upstream_timeout")
        assert_free_and_left_alone(gateway, deployment)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_a_redirect(gateway: ConsortiumGateway, machine: HostileMachine, status: str) -> None:
    """To the gateway's own network, and back to itself: neither is asked."""
    with hostile_machine() as private:
        for target in (private.url, f"http://127.0.0.1:{machine.port}/elsewhere"):
            before = machine.customers
            answer = always(http(b"", f"Location: {target}", status=status))
            with registered(gateway, machine, answer) as deployment:
                response = gateway.chat(gateway.customer())
                assert (response.status_code, error_of(response)["code"]) == REFUSED
                assert_free_and_left_alone(gateway, deployment)
            assert machine.customers == before + 1
        assert private.connections == 0


def test_a_second_answer_is_nobodys(gateway: ConsortiumGateway, machine: HostileMachine) -> None:
    """What a machine sends behind an answer does not become the next customer's."""

    def twice(out: BinaryIO, count: int) -> None:
        out.write(http(completion(f"for {count}")) + http(completion("stolen")))

    with registered(gateway, machine, twice):
        key, first = gateway.customer(), machine.customers + 1
        said = [gateway.chat(key).json()["choices"][0]["message"]["content"] for _ in range(3)]
        assert said == [f"for {first + n}" for n in range(3)]


def test_bytes_that_would_break_out_of_an_event(gateway: ConsortiumGateway, machine: HostileMachine) -> None:
    """Line ends and events in a model's text stay text."""
    text = 'a\r\n\r\ndata: [DONE]\n\ndata: {"error": {}}\r\rb'
    with registered(gateway, machine, always(http(completion(text)))):
        key = gateway.customer()
        assert gateway.chat(key).json()["choices"][0]["message"]["content"] == text
    event = b"data: " + completion(text).replace(b'"message"', b'"delta"') + b"\n\ndata: [DONE]\n\n"
    with registered(gateway, machine, always(http(event, "Content-Type: text/event-stream"))):
        assert content_of(chunks_of(gateway.chat(gateway.customer(), stream=True).text)) == text


def test_an_address_that_was_not_listed_is_never_connected_to(gateway: ConsortiumGateway) -> None:
    """Registered past the command line, by a hand in the store: the probe says why, and nothing is opened."""
    with hostile_machine() as private:
        for url in (private.url, f"https://127.0.0.1:{private.port}/v1", f"http://127.1:{private.port}/v1"):
            name = gateway.registry.add(url)
            gateway.reached_why(name, "llmdeal.partners.allowed_hosts" if "127.0" in url else "IPv4 address")
            assert gateway.registry.partner(name).state is PartnerState.PROBING
            gateway.registry.remove(name)
        assert private.connections == 0

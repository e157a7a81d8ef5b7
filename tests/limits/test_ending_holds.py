"""What becomes of a stream whose hold cannot grow any more: it ends cleanly, and costs what was held."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx
import pytest
from counting import tokens_of
from dated_gateway import DatedGateway, Holder, dated
from limit_gateway import CHEAP, DEAR, Setup
from one_write_upstream import OneWrite
from processes import until
from rolling import (
    ASKED,
    CEILING,
    MISCOUNT,
    OTHER_PROVIDER,
    PAID,
    PROVIDER,
    WINDOW,
    asking,
    at_the_barrier,
    claim,
    cost,
    ending,
    says,
    started,
    taken,
    waiting,
)

from llmdeal_litellm.accounts.admin import Span
from llmdeal_litellm.catalog.model import Wallet
from llmdeal_litellm.holding import PATIENCE_S


@pytest.fixture(scope="module")
def one_write() -> Iterator[OneWrite]:
    """An upstream that sends a whole stream at once, when it is told to."""
    with OneWrite().running() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def shared(
    simulator: str, one_write: OneWrite, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DatedGateway]:
    """One gateway for all tests here."""
    addresses = {
        CHEAP: f"{simulator}/{PROVIDER}/v1",
        DEAR: f"{simulator}/{OTHER_PROVIDER}/v1",
        "gpt-oss-120b": one_write.address,
    }
    with dated(tmp_path_factory.mktemp("growing"), Setup(addresses)) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared: DatedGateway, control: httpx.Client) -> DatedGateway:
    """The same, fresh."""
    shared.begin()
    return shared


@pytest.mark.parametrize("but", [0, 1, 100, 700])
def test_when_another_request_takes_the_funds_the_stream_ends_cleanly(
    gateway: DatedGateway, control: httpx.Client, but: int
) -> None:
    """The upstream is stopped, the answer ends with `length`, and costs no more than was held for it."""
    body = asking(20_000, ASKED)
    holder = gateway.holder(nano=cost(body, PAID))
    says(control, "hang", after_chunks=5000)
    with at_the_barrier(control):
        call = started(gateway, holder, body)
        waiting(control, 1)
        with taken(gateway, control, holder, but=but):
            control.post("/barrier/open")
            text, last, head = ending(call)
            assert control.get("/hangups", params={"at_least": 1}).json()["reached"]

    assert last["choices"][0]["finish_reason"] == "length"
    assert last["usage"]["completion_tokens"] == WINDOW + but
    assert WINDOW + but - MISCOUNT < tokens_of(text) <= WINDOW + but + 1
    assert f"x-llmdeal-output-limit: {PAID}\r\n" in head
    end = next(end for end in gateway.ends_of(holder) if end["served_by"] == CHEAP)
    assert (end["rule"], end["output_tokens"]) == ("completed", WINDOW + but)
    assert end["marks"] == "input_claim_missing,output_claim_missing"


def test_an_answer_that_is_complete_was_not_cut(
    gateway: DatedGateway, control: httpx.Client, one_write: OneWrite
) -> None:
    """All of it came in one event, with its end, and was more than was held for: `stop`, billed is what was
    held."""
    body = asking(1, ASKED, "gpt-oss-120b")
    holder = gateway.holder(nano=cost(body, PAID))
    with one_write.after("word " * 3000) as release:
        call = started(gateway, holder, body)
        until(lambda: gateway.holds(holder), what="the hold")
        with taken(gateway, control, holder, but=0):
            release()
            text, last, _ = ending(call)

    assert text == "word " * 3000
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["usage"]["completion_tokens"] == WINDOW
    ended = {end["served_by"]: end["output_tokens"] for end in gateway.ends_of(holder)}
    assert ended["gpt-oss-120b"] == WINDOW


@pytest.mark.parametrize("but", [0, 7])
def test_what_arrives_at_once_is_passed_on_as_far_as_it_is_held_for(
    gateway: DatedGateway, control: httpx.Client, one_write: OneWrite, but: int
) -> None:
    """An upstream that is far ahead of us gives nothing away: not a piece more than the hold covers."""
    body = asking(1, ASKED, "gpt-oss-120b")
    holder = gateway.holder(nano=cost(body, PAID))
    with one_write.after(*[" word"] * 6000) as release:
        call = started(gateway, holder, body)
        until(lambda: gateway.holds(holder), what="the hold")
        with taken(gateway, control, holder, but=but):
            release()
            text, last, _ = ending(call)

    assert last["choices"][0]["finish_reason"] == "length"
    assert last["usage"]["completion_tokens"] == WINDOW + but
    assert WINDOW + but - MISCOUNT < tokens_of(text) <= WINDOW + but + 1


@pytest.mark.parametrize("but", [0, 50])
def test_a_claim_is_cut_to_what_funds_allow(gateway: DatedGateway, control: httpx.Client, but: int) -> None:
    """What is claimed beyond is the house's loss, and the usage shows what was billed."""
    body = asking(700, ASKED)
    holder = gateway.holder(nano=cost(body, PAID))
    says(control, "usage", usage=claim(2150))
    with at_the_barrier(control):
        call = started(gateway, holder, body)
        waiting(control, 1)
        with taken(gateway, control, holder, but=but):
            control.post("/barrier/open")
            _, last, _ = ending(call)

    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["usage"]["completion_tokens"] == WINDOW + but
    end = next(end for end in gateway.ends_of(holder) if end["served_by"] == CHEAP)
    assert (end["output_tokens"], end["claimed_output"]) == (WINDOW + but, 2150)
    house = gateway.rows("house_entries", holder, "version")
    lost = [row["amount"] for row in house if (row["version"], row["house"]) == (end["version"], "loss")]
    assert lost == [-100 * (2150 - WINDOW - but)]


def _lower(span: Span) -> Any:
    def lower(gateway: DatedGateway, holder: Holder) -> None:
        with gateway.operator() as admin:
            admin.set_cap(holder.key_id, 1, per=span)

    return lower


def _dispute(gateway: DatedGateway, holder: Holder) -> None:
    with gateway.operator() as admin:
        admin.dispute(holder.account_id, Wallet.BASE, 10**12, note="taken back", now_us=gateway.calendar.us)


@pytest.mark.parametrize(
    "end_funds",
    [_lower(Span.LIFE), _lower(Span.DAY), _lower(Span.MONTH), _dispute],
    ids=["cap", "cap of the day", "cap of the month", "dispute"],
)
def test_what_else_may_end_a_stream_in_the_middle(
    gateway: DatedGateway, control: httpx.Client, end_funds: Any
) -> None:
    """A cap that an operator lowers below what is held, and a payment that is taken back: the hold does not
    grow any more, and what it covers is answered."""
    holder = gateway.holder()
    with at_the_barrier(control):
        call = started(gateway, holder, asking(20_000, CEILING))
        waiting(control, 1)
        end_funds(gateway, holder)
    _, last, _ = ending(call)

    assert (last["choices"][0]["finish_reason"], last["usage"]["completion_tokens"]) == ("length", WINDOW)
    assert gateway.ends_of(holder)[-1]["output_tokens"] == WINDOW


@pytest.mark.parametrize("how", ["frozen", "revoked"])
def test_a_running_answer_ends_as_usual(gateway: DatedGateway, control: httpx.Client, how: str) -> None:
    """The account is frozen or the key revoked in the middle: the hold still grows, nothing new begins."""
    holder = gateway.holder()
    with at_the_barrier(control):
        call = started(gateway, holder, asking(6000, CEILING))
        waiting(control, 1)
        with gateway.operator() as admin:
            if how == "frozen":
                admin.set_frozen(holder.account_id, True)
            else:
                admin.revoke_key(holder.key_id, now_us=gateway.calendar.us)
        until(lambda: gateway.ask(holder, asking(1, 1)).status_code in (401, 403), what="a refusal")
    text, last, _ = ending(call)

    assert (len(text.split()), last["choices"][0]["finish_reason"]) == (6000, "stop")
    assert gateway.ends_of(holder)[-1]["output_tokens"] == tokens_of(text)


@contextmanager
def store_locked(gateway: DatedGateway) -> Iterator[None]:
    """Nothing can be written meanwhile."""
    with closing(sqlite3.connect(gateway.database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


def test_a_stream_waits_for_a_store_that_is_away(gateway: DatedGateway, control: httpx.Client) -> None:
    """What is held is answered meanwhile and no more; when the store is back the stream goes on to its
    end."""
    holder = gateway.holder()
    with at_the_barrier(control):
        call = started(gateway, holder, asking(3000, CEILING))
        waiting(control, 1)
        with store_locked(gateway):
            control.post("/barrier/open")
            call.read_events(WINDOW - 10)
            until(lambda: not gateway.healthy, what="the store to be given up")
            assert len(call.events) < WINDOW + 1000
    text, last, _ = ending(call)

    assert (len(text.split()), last["choices"][0]["finish_reason"]) == (3000, "stop")
    assert gateway.ends_of(holder)[-1]["output_tokens"] == last["usage"]["completion_tokens"]


def test_a_store_that_stays_away_ends_the_stream(gateway: DatedGateway, control: httpx.Client) -> None:
    """After a while, cleanly, and billed is what was held."""
    gateway.wait_by_the_clock()
    holder = gateway.holder()
    with at_the_barrier(control):
        call = started(gateway, holder, asking(3000, CEILING))
        waiting(control, 1)
        with store_locked(gateway):
            control.post("/barrier/open")
            call.read_events(WINDOW - 10)
            until(lambda: not gateway.healthy, what="the store to be given up")
            gateway.clock.pass_s(PATIENCE_S + 1)
            _, last, _ = ending(call)

    assert (last["choices"][0]["finish_reason"], last["usage"]["completion_tokens"]) == ("length", WINDOW)
    assert gateway.ends_of(holder)[-1]["output_tokens"] == WINDOW

"""What a stream holds: the beginning of its answer first, more before it runs out, in the end its claim."""

from collections.abc import Iterator

import httpx
import pytest
from answers import chunks_of, content_of
from counting import tokens_of
from dated_gateway import DatedGateway, Row, dated
from limit_gateway import CHEAP, Setup
from processes import until
from rolling import (
    AS_JSON,
    CEILING,
    MISCOUNT,
    PROVIDER,
    ROLE_EVENT,
    WINDOW,
    asking,
    at_the_barrier,
    claim,
    cost,
    covered,
    ending,
    says,
    started,
    waiting,
)


@pytest.fixture(scope="module")
def shared(simulator: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatedGateway]:
    """One gateway for all tests here."""
    addresses = {
        CHEAP: f"{simulator}/{PROVIDER}/v1",
    }
    with dated(tmp_path_factory.mktemp("growing"), Setup(addresses)) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared: DatedGateway, control: httpx.Client) -> DatedGateway:
    """The same, fresh."""
    shared.begin()
    return shared


@pytest.mark.parametrize("most", [1, 64, 2047, 2048, 2049, 10_000, CEILING])
def test_a_stream_holds_the_beginning_of_its_answer(
    gateway: DatedGateway, control: httpx.Client, most: int
) -> None:
    """The bound of its input, and 2,048 tokens or its limit when that is less."""
    holder, body = gateway.holder(), asking(3, most)
    with at_the_barrier(control):
        call = started(gateway, holder, body)
        waiting(control, 1)
        assert covered(gateway, holder) == min(WINDOW, most)
        assert gateway.wallet(holder).held == cost(body, min(WINDOW, most))
    ending(call)


def test_a_plain_answer_is_held_for_as_a_whole(gateway: DatedGateway, control: httpx.Client) -> None:
    """It cannot be stopped half-way."""
    holder, body = gateway.holder(), asking(3, 10_000) | {"stream": False}
    with at_the_barrier(control):
        call = started(gateway, holder, body)
        waiting(control, 1)
        assert covered(gateway, holder) == 10_000
    assert call.read_all().status == 200


def test_a_stream_that_comes_in_one_piece_is_held_for_as_a_whole(
    gateway: DatedGateway, control: httpx.Client
) -> None:
    """Some upstreams give JSON to a schema only as a whole, also to who asked for a stream."""
    holder, body = gateway.holder(), asking(3, 10_000, response_format=AS_JSON)
    says(control, "length")
    with at_the_barrier(control):
        call = started(gateway, holder, body)
        waiting(control, 1)
        assert covered(gateway, holder) == 10_000
    _, last, _ = ending(call)
    assert last["usage"]["completion_tokens"] == 10_000
    assert gateway.ends_of(holder)[-1]["output_tokens"] == 10_000


def test_a_piece_that_funds_do_not_cover_is_not_asked_for(
    gateway: DatedGateway, control: httpx.Client
) -> None:
    """Of an answer in one piece the limit that goes upstream is what is held for, and the header says it."""
    body = asking(3, 10_000, response_format=AS_JSON)
    holder = gateway.holder(nano=cost(body, 7000))
    says(control, "length")
    answer = gateway.ask(holder, body)

    limit = sum(r["output_tokens"] for r in gateway.records(holder) if r["kind"] in ("hold", "extend"))
    assert 6500 < limit < 7000
    assert answer.headers["x-llmdeal-output-limit"] == str(limit)
    assert chunks_of(answer.text)[-1]["usage"]["completion_tokens"] == limit
    sent = control.get("/requests", params={"last": 1}).json()["requests"][0]["body"]
    assert (sent["max_tokens"], "stream" in sent) == (limit, False)
    gateway.settled(holder)


@pytest.mark.parametrize(("words", "grown"), [(1000, 1), (1600, 2), (3500, 2), (3700, 3), (9000, 5)])
def test_a_hold_grows_before_it_runs_out(
    gateway: DatedGateway, control: httpx.Client, words: int, grown: int
) -> None:
    """By 2,048 tokens each time that fewer than 512 are left, and what the account holds grows with it."""
    holder = gateway.holder()
    says(control, "hang", after_chunks=words + ROLE_EVENT)
    call = started(gateway, holder, asking(20_000, CEILING)).read_events(words)
    until(lambda: covered(gateway, holder) == grown * WINDOW, what="the hold to grow")
    call.close()

    end = gateway.ends_of(holder)[-1]
    kinds = [record["kind"] for record in gateway.records(holder)]
    assert kinds == ["credit", "hold", *["extend"] * (grown - 1), "post"]
    assert (end["rule"], end["output_tokens"]) == ("caller_left", words)


def test_a_hold_never_covers_more_than_the_limit(gateway: DatedGateway, control: httpx.Client) -> None:
    """Its last growth is what is left of the answer."""
    holder = gateway.holder()
    says(control, "hang", after_chunks=2400 + ROLE_EVENT)
    call = started(gateway, holder, asking(20_000, 2500)).read_events(2400)
    until(lambda: covered(gateway, holder) == 2500, what="the hold to grow")
    call.close()
    gateway.settled(holder)


@pytest.mark.parametrize("words", [1400, 6000, 20_000])
def test_a_long_stream_is_billed_once_and_in_full(gateway: DatedGateway, words: int) -> None:
    """However often its hold grew; the answer ends as the upstream ended it."""
    holder = gateway.holder()
    answer = gateway.ask(holder, asking(words, CEILING))
    chunks = chunks_of(answer.text)

    assert len(content_of(chunks).split()) == words
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert "x-llmdeal-output-limit" not in answer.headers
    [end] = gateway.ends_of(holder)
    assert end["output_tokens"] == chunks[-1]["usage"]["completion_tokens"] == tokens_of(content_of(chunks))
    extends = [record for record in gateway.records(holder) if record["kind"] == "extend"]
    assert len(extends) == -(-(end["output_tokens"] + 512 - WINDOW) // WINDOW)
    assert {record["balance_change"] for record in extends} == {0}
    assert gateway.wallet(holder).balance == 10**10 + end["balance_change"]


@pytest.mark.parametrize(
    ("claimed", "billed"),
    [
        (claim(1500), 1500),
        (claim(2048), 2048),
        (claim(2049), 2049),
        (claim(2100), 2100),
        (claim(9100, reasoning=8000), 9100),
        (claim(41_100, reasoning=40_000), CEILING),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "claim",
)
def test_a_hold_grows_to_what_the_upstream_claims(
    gateway: DatedGateway, control: httpx.Client, claimed: Row, billed: int
) -> None:
    """At the end, when the claim is believed: our own count is half of it, or the rest was thought."""
    says(control, "usage", usage=claimed)
    holder = gateway.holder()
    last = chunks_of(gateway.ask(holder, asking(700, CEILING)).text)[-1]

    assert last["usage"]["completion_tokens"] == billed
    [end] = gateway.ends_of(holder)
    assert (end["output_tokens"], end["marks"]) == (billed, None)
    held = [r["output_tokens"] for r in gateway.records(holder) if r["kind"] in ("hold", "extend")]
    assert held == ([WINDOW] if billed <= WINDOW else [WINDOW, billed - WINDOW])


def test_a_claim_that_is_not_believed_makes_nothing_grow(
    gateway: DatedGateway, control: httpx.Client
) -> None:
    """More than twice our count: that is billed instead."""
    says(control, "usage", usage=claim(2500))
    holder = gateway.holder()
    chunks = chunks_of(gateway.ask(holder, asking(700, CEILING)).text)

    [end] = gateway.ends_of(holder)
    own = tokens_of(content_of(chunks))
    assert own <= chunks[-1]["usage"]["completion_tokens"] == end["output_tokens"] < own + MISCOUNT
    assert end["marks"] == "output_claim_implausible"
    assert [r["kind"] for r in gateway.records(holder)] == ["credit", "hold", "post"]

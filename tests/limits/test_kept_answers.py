"""Answers kept for a repetition of their request, at the edge: for how long, before which refusals, and what
requests pay that name no Idempotency-Key."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from answers import error_of
from dated_gateway import DatedGateway, Holder, dated
from limit_gateway import CHEAP, DEAR, FOURTH, PARTNER, Setup, refusing_address

from llmdeal_litellm.catalog.model import Wallet
from llmdeal_litellm.ledger.rows import US_PER_S
from llmdeal_litellm.limits import EMPTY_ANSWER_REFUNDS_PER_DAY

DAY_S = 86_400
REPLAY = "x-llmdeal-idempotent-replay"
HOLDS_MAX = 32
TERSE_CAP = 2000
"""Tokens a minute of the tier `terse`."""

FORMS = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


def chat(text: str = "Hello!", model: str = CHEAP, **fields: Any) -> dict[str, Any]:
    """A chat completion."""
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 50, **fields}


@pytest.fixture(scope="module")
def shared(simulator: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatedGateway]:
    """One gateway for all tests here, with one alias whose upstream is dead."""
    addresses = {CHEAP: f"{simulator}/groq/v1", DEAR: f"{simulator}/cerebras/v1", FOURTH: refusing_address()}
    with dated(tmp_path_factory.mktemp("kept"), Setup(addresses, lane=(CHEAP, DEAR))) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared: DatedGateway, control: httpx.Client) -> DatedGateway:
    """The same, fresh."""
    shared.begin()
    return shared


def code_of(answer: httpx.Response) -> str:
    """The code of a refusal, or what else came."""
    if answer.status_code == 200:
        return "replay" if answer.headers.get(REPLAY) == "true" else "answer"
    return str(error_of(answer)["code"])


def asked(gateway: DatedGateway, holder: Holder, *bodies: dict[str, Any], name: str = "a") -> list[str]:
    """What becomes of each of these requests under one name."""
    return [code_of(gateway.ask(holder, body, name)) for body in bodies]


@contextmanager
def in_flight(
    gateway: DatedGateway, control: httpx.Client, holder: Holder, *named: tuple[dict[str, Any], str | None]
) -> Iterator[None]:
    """Requests that wait at their upstream while the block runs."""
    control.post("/barrier/close")
    with ThreadPoolExecutor(len(named)) as pool:
        waiting = [pool.submit(gateway.ask, holder, body, name) for body, name in named]
        try:
            assert control.get("/waiting", params={"at_least": len(named)}).json()["reached"]
            yield
        finally:
            control.post("/barrier/open")
    assert {one.result().status_code for one in waiting} == {200}


@FORMS
def test_an_answer_is_kept_for_a_day(gateway: DatedGateway, stream: bool) -> None:
    """To the second before 24 hours have passed; then the same name is a new request's."""
    holder, body = gateway.holder(), chat(stream=stream)
    first = gateway.ask(holder, body, "a")
    gateway.calendar.pass_s(DAY_S - 1)
    again = gateway.ask(holder, body, "a")
    assert (code_of(again), again.content) == ("replay", first.content)
    gateway.calendar.pass_s(1)
    anew = gateway.ask(holder, body, "a")

    assert (code_of(anew), anew.content != first.content) == ("answer", True)
    assert len(gateway.ends_of(holder)) == 2
    assert asked(gateway, holder, body, chat("Something else")) == ["replay", "idempotency_conflict"]
    assert [row["request_id"] for row in gateway.kept(holder)] == [anew.headers["x-llmdeal-request-id"]]


def test_a_day_counts_from_the_end_of_the_request(gateway: DatedGateway, control: httpx.Client) -> None:
    """An answer that took its time is kept as long as any other."""
    holder = gateway.holder()
    with in_flight(gateway, control, holder, (chat(), "a")):
        gateway.calendar.pass_s(30)
    gateway.settled(holder)
    gateway.calendar.pass_s(DAY_S - 1)
    assert asked(gateway, holder, chat()) == ["replay"]
    gateway.calendar.pass_s(1)
    assert asked(gateway, holder, chat()) == ["answer"]


def test_a_conflict_is_kept_for_a_day_too(gateway: DatedGateway, control: httpx.Client) -> None:
    """What was charged and cut frees its name when a finished answer would."""
    holder, body = gateway.holder(), chat(stream=True)
    control.post("/script", json={"behaviour": "cut", "after_chunks": 4, "times": 1})
    gateway.ask(holder, body, "a")
    gateway.settled(holder)
    gateway.calendar.pass_s(DAY_S - 1)
    assert asked(gateway, holder, body) == ["idempotency_conflict"]
    gateway.calendar.pass_s(1)
    assert asked(gateway, holder, body) == ["answer"]


def test_what_expired_is_deleted(simulator: str, control: httpx.Client, tmp_path: Path) -> None:
    """Also when nobody asks for it again; what did not expire outlives a restart."""
    setup = Setup({CHEAP: f"{simulator}/groq/v1"})
    with dated(tmp_path, setup) as first:
        holder = first.holder()
        for name in "ab":
            first.ask(holder, chat(), name)
        first.calendar.pass_s(DAY_S - 60)
        kept = first.ask(holder, chat(), "c")
        first.settled(holder)
        assert [row["state"] for row in first.kept(holder)] == ["kept"] * 3
    with dated(tmp_path, setup, since=first.calendar.us + 120 * US_PER_S) as second:
        assert len(second.kept(holder)) == 1
        assert second.ask(holder, chat(), "c").content == kept.content


def test_a_name_comes_before_the_tokens_of_the_limit(gateway: DatedGateway, control: httpx.Client) -> None:
    """Replay, 409 and 422 are no matter of the key's tokens a minute, and take none."""
    holder = gateway.holder(tier="terse")
    assert asked(gateway, holder, chat()) == ["answer"]
    gateway.settled(holder)
    gateway.clock.pass_s(60)
    with in_flight(gateway, control, holder, (chat(max_tokens=TERSE_CAP), "b")):
        before = gateway.ask(holder, chat()).headers["x-ratelimit-remaining-tokens"]
        assert asked(gateway, holder, chat(), name="c") == ["rate_limited"]
        assert asked(gateway, holder, chat(), chat("Else")) == ["replay", "idempotency_conflict"]
        assert asked(gateway, holder, chat(max_tokens=TERSE_CAP), chat(), name="b") == [
            "request_in_progress",
            "idempotency_conflict",
        ]
        again = gateway.ask(holder, chat(), "a")
        assert again.headers["x-ratelimit-remaining-tokens"] == before


def test_a_name_comes_before_open_holds(gateway: DatedGateway, control: httpx.Client) -> None:
    """With as many requests in flight as a key may have."""
    holder = gateway.holder()
    assert asked(gateway, holder, chat()) == ["answer"]
    gateway.settled(holder)
    with in_flight(gateway, control, holder, *((chat(), f"{i}") for i in range(HOLDS_MAX))):
        assert asked(gateway, holder, chat(), name="new") == ["rate_limited"]
        assert asked(gateway, holder, chat(), chat("Else")) == ["replay", "idempotency_conflict"]
        assert asked(gateway, holder, chat(), chat("Else"), name="7") == [
            "request_in_progress",
            "idempotency_conflict",
        ]


def test_a_name_comes_before_funds_and_caps(gateway: DatedGateway) -> None:
    """What was answered is given again to who can pay nothing any more."""
    holder = gateway.holder()
    assert asked(gateway, holder, chat()) == ["answer"]
    gateway.settled(holder)
    with gateway.operator() as admin:
        admin.set_cap(holder.key_id, 0)
    assert asked(gateway, holder, chat(), chat("Else")) == ["replay", "idempotency_conflict"]
    assert asked(gateway, holder, chat(), name="b") == ["quota_exhausted"]
    with gateway.operator() as admin:
        admin.set_cap(holder.key_id, None)
    assert asked(gateway, holder, chat(), name="b") == ["answer"]


def test_upstreams_that_are_away_come_before_a_name(gateway: DatedGateway) -> None:
    """503 for a partner who is not there and for an open breaker, also where the name was used."""
    holder = gateway.holder()
    assert asked(gateway, holder, chat()) == ["answer"]
    assert asked(gateway, holder, chat(model=PARTNER)) == ["no_consortium_machine_available"]
    for i in range(5):
        assert asked(gateway, holder, chat(model=FOURTH), name=f"{i}") == ["upstream_error"]
    assert asked(gateway, holder, chat(model=FOURTH)) == ["upstream_circuit_open"]


@FORMS
def test_an_empty_answer_that_is_charged_is_given_again(
    gateway: DatedGateway, control: httpx.Client, stream: bool
) -> None:
    """Once a key's refunds of the day are used up an empty answer is one like others: charged, and kept."""
    holder, body = gateway.holder(), chat(stream=stream)
    most = EMPTY_ANSWER_REFUNDS_PER_DAY
    control.post("/script", json={"behaviour": "empty", "times": most + 1})
    for i in range(most):
        gateway.ask(holder, body, f"{i}")
    first = gateway.ask(holder, body, "a")
    ends = gateway.ends_of(holder)
    again = gateway.ask(holder, body, "a")

    assert [end["rule"] for end in ends] == ["empty_answer"] * most + ["completed"]
    assert (ends[-1]["kind"], ends[-1]["output_tokens"]) == ("post", 0)
    assert (code_of(first), code_of(again)) == ("answer", "replay")
    assert again.content == first.content
    assert '"role":"assistant"' in first.text
    assert len(gateway.kept(holder)) == 1


def test_answers_under_another_encryption_key_are_lost_and_say_so(gateway: DatedGateway) -> None:
    """The key of the environment was changed: nobody can read what was kept, and nobody pays twice for it."""
    holder = gateway.holder()
    assert asked(gateway, holder, chat()) == ["answer"]
    gateway.settled(holder)
    with gateway.other_encryption_key():
        answer = gateway.ask(holder, chat(), "a")
        assert (code_of(answer), "charged" in answer.text) == ("idempotency_conflict", True)
        assert asked(gateway, holder, chat(), name="b") == ["answer"]
    assert asked(gateway, holder, chat()) == ["replay"]
    assert len(gateway.ends_of(holder)) == 2


def test_a_kept_answer_cannot_be_moved_to_another_name(gateway: DatedGateway) -> None:
    """Each is sealed for its account and name: a row that was edited opens nothing."""
    mine, other = gateway.holder(), gateway.holder()
    for holder in (mine, other):
        assert asked(gateway, holder, chat()) == ["answer"]
        gateway.settled(holder)
    gateway.copy_kept(mine, other)

    assert asked(gateway, other, chat()) == ["idempotency_conflict"]
    assert asked(gateway, mine, chat()) == ["replay"]


@FORMS
def test_who_names_nothing_pays_nothing_for_it(gateway: DatedGateway, stream: bool) -> None:
    """No statement of an ordinary request is about kept answers, and as many run as without the feature."""
    holder = gateway.holder()
    gateway.ask(holder, chat(stream=stream))
    gateway.settled(holder)
    with gateway.statements() as seen:
        assert code_of(gateway.ask(holder, chat(stream=stream))) == "answer"
        gateway.settled(holder)
    mine = [one for one in seen if holder.account_id in one or holder.key_id in one]
    assert mine
    assert [one for one in seen if "INTO idempotency" in one or "FROM idempotency WHERE key" in one] == []

    with gateway.statements() as seen:
        assert code_of(gateway.ask(holder, chat(stream=stream), "a")) == "answer"
        gateway.settled(holder)
    assert [one for one in seen if "INTO idempotency" in one]


def test_a_credit_lets_a_refused_name_run(gateway: DatedGateway) -> None:
    """402 left nothing behind."""
    holder = gateway.holder(nano=0)
    assert asked(gateway, holder, chat()) == ["quota_exhausted"]
    assert gateway.kept(holder) == []
    with gateway.operator() as admin:
        admin.credit(holder.account_id, Wallet.BASE, 10**9, note="", now_us=gateway.calendar.us)
    assert asked(gateway, holder, chat(), chat()) == ["answer", "replay"]

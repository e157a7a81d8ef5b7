"""Streams whose accounts can pay for some of them: who can pay is served, nobody goes below zero, each ends
cleanly."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from answers import chunks_of, content_of, error_of
from counting import quote_of, tokens_of
from dated_gateway import INPUT_NANO, OUTPUT_NANO, DatedGateway, Holder, dated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limit_gateway import CHEAP, Setup
from rolling import CEILING, PROVIDER, WINDOW, asking, cost

from llmdeal_litellm.accounts.admin import Caps
from llmdeal_litellm.money import Rates, usd_text
from llmdeal_litellm.policy.pricing import size_hold

RATES = Rates.flat(1000 * INPUT_NANO, 1000 * OUTPUT_NANO)
AT_ONCE = 16


@pytest.fixture(scope="module")
def shared(simulator: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatedGateway]:
    """One gateway for all tests here."""
    setup = Setup({CHEAP: f"{simulator}/{PROVIDER}/v1"})
    with dated(tmp_path_factory.mktemp("small"), setup) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared: DatedGateway, control: httpx.Client) -> DatedGateway:
    """The same, fresh."""
    shared.begin()
    return shared


def never_below_zero(gateway: DatedGateway, holder: Holder, granted: int) -> int:
    """What was charged in all. At no version was less than nothing available."""
    charged = -sum(end["balance_change"] for end in gateway.ends_of(holder))
    records = gateway.records(holder)
    assert all(r["balance_after"] >= r["held_after"] for r in records)
    wallet = gateway.wallet(holder)
    assert (wallet.held, wallet.balance) == (0, granted - charged)
    return charged


def one_at_a_time(gateway: DatedGateway, holder: Holder, available: int, words: int, most: int) -> int | None:
    """Send one stream; returns what is left afterwards, or None when it was refused. It may only be refused
    when it cannot be paid, and it ends cleanly within what is available."""
    body = asking(words, most)
    quote = quote_of(body, RATES, CEILING)
    answer = gateway.ask(holder, body)
    if available < quote.required:
        assert answer.status_code == 402, answer.text
        assert f"needs {usd_text(quote.required)} USD" in error_of(answer)["message"]
        return None
    assert answer.status_code == 200, answer.text
    chunks = chunks_of(answer.text)
    usage, finish = chunks[-1]["usage"], chunks[-1]["choices"][0]["finish_reason"]
    terms = size_hold(quote, available)
    assert terms is not None
    limit = int(answer.headers.get("x-llmdeal-output-limit", most))
    assert limit == terms.answer_limit
    end = gateway.ends_of(holder)[-1]
    assert (end["input_tokens"], end["output_tokens"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert usage["completion_tokens"] <= limit <= most
    said = tokens_of(content_of(chunks))
    assert len(content_of(chunks).split()) == words if finish == "stop" else said >= limit - 1
    left = gateway.wallet(holder).balance
    assert 0 <= left == available + end["balance_change"]
    return left


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    balance=st.one_of(st.integers(0, 400_000), st.integers(0, 8_000_000)),
    words=st.integers(1, 1800),
    most=st.one_of(st.integers(1, 300), st.integers(1, CEILING), st.sampled_from([WINDOW, WINDOW + 1])),
)
def test_who_can_pay_is_never_refused_one_at_a_time(
    gateway: DatedGateway, balance: int, words: int, most: int
) -> None:
    """The same stream again and again, until what is left does not pay for it."""
    holder = gateway.holder(nano=balance)
    left: int | None = balance
    for _ in range(4):
        if left is None:
            break
        left = one_at_a_time(gateway, holder, left, words, most)
    never_below_zero(gateway, holder, balance)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    caps=st.tuples(*[st.none() | st.integers(0, 3_000_000)] * 3),
    words=st.integers(1, 1800),
    most=st.integers(1, 10_000),
)
def test_who_can_pay_is_never_refused_within_caps(
    gateway: DatedGateway, caps: tuple[int | None, int | None, int | None], words: int, most: int
) -> None:
    """The same for a key with caps: what it may spend is the smallest of them."""
    balance = 4_000_000
    holder = gateway.holder(nano=balance, caps=Caps(*caps))
    least = min([balance, *(cap for cap in caps if cap is not None)])
    body = asking(words, most)
    answer = gateway.ask(holder, body)

    assert answer.status_code == (200 if least >= quote_of(body, RATES, CEILING).required else 402)
    charged = never_below_zero(gateway, holder, balance)
    assert charged <= least
    if answer.status_code == 200:
        assert chunks_of(answer.text)[-1]["choices"][0]["finish_reason"] in ("stop", "length")


@pytest.mark.parametrize("share", [1.2, 4.0, 10.0])
def test_many_streams_at_once_never_go_below_zero(gateway: DatedGateway, share: float) -> None:
    """Some are refused, the others end cleanly, by themselves or by `length`, and what they cost was held."""
    body = asking(2500, 5000)
    granted = round(share * cost(body, 5000))
    holder = gateway.holder(nano=granted)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda _: gateway.ask(holder, body), range(AT_ONCE)))

    served = [answer for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} <= {200, 402}
    assert served
    for answer in served:
        chunks = chunks_of(answer.text)
        reason, text = chunks[-1]["choices"][0]["finish_reason"], content_of(chunks)
        assert reason == ("stop" if len(text.split()) == 2500 else "length")
    for refused in set(answers) - set(served):
        assert "USD held by requests in flight" in error_of(refused)["message"]
    usages = [chunks_of(answer.text)[-1]["usage"] for answer in served]
    billed = sum(INPUT_NANO * u["prompt_tokens"] + OUTPUT_NANO * u["completion_tokens"] for u in usages)
    assert never_below_zero(gateway, holder, granted) == billed <= granted


def test_many_streams_that_one_account_can_pay_end_by_themselves(gateway: DatedGateway) -> None:
    """None of them stands in another one's way."""
    body = asking(2000, 5000)
    granted = AT_ONCE * cost(body, 5000)
    holder = gateway.holder(nano=granted)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda _: gateway.ask(holder, body), range(AT_ONCE)))

    for answer in answers:
        chunks = chunks_of(answer.text)
        assert (len(content_of(chunks).split()), chunks[-1]["choices"][0]["finish_reason"]) == (2000, "stop")
    assert len({end["balance_change"] for end in gateway.ends_of(holder)}) == 1
    never_below_zero(gateway, holder, granted)

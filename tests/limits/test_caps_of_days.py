"""What a key may spend in all, in a UTC day and in a UTC month: counted with what is held in flight, told
when it is not enough, and new when the day or the month is."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from answers import chunks_of, error_of
from counting import quote_of
from dated_gateway import INPUT_NANO, OUTPUT_NANO, DatedGateway, Holder, Row, dated
from limit_gateway import CHEAP, DEAR, Setup
from processes import until
from rolling import (
    CEILING,
    OTHER_PROVIDER,
    PROVIDER,
    WINDOW,
    asking,
    at_the_barrier,
    cost,
    covered,
    ending,
    says,
    started,
    waiting,
)

from llmdeal_litellm.accounts.admin import Caps, Key, Span
from llmdeal_litellm.money import Rates, usd_text

RATES = Rates.flat(1000 * INPUT_NANO, 1000 * OUTPUT_NANO)
NAMES = {Span.LIFE: "cap", Span.DAY: "cap of the day (UTC)", Span.MONTH: "cap of the month (UTC)"}
SPANS = pytest.mark.parametrize("span", NAMES, ids=[span.value for span in NAMES])
BODY = asking(50, 50) | {"stream": False}
QUOTE = quote_of(BODY, RATES, CEILING)
MIDNIGHTS = {
    "a day": ("2031-01-15T23:59:59Z", {Span.DAY}),
    "the end of a month": ("2031-01-31T23:59:59Z", {Span.DAY, Span.MONTH}),
    "no leap day": ("2031-02-28T23:59:59Z", {Span.DAY, Span.MONTH}),
    "before a leap day": ("2032-02-28T23:59:59Z", {Span.DAY}),
    "a leap day": ("2032-02-29T23:59:59Z", {Span.DAY, Span.MONTH}),
    "the end of a year": ("2031-12-31T23:59:59Z", {Span.DAY, Span.MONTH}),
    "midnight in another zone": ("2031-01-31T23:59:59+01:00", set()),
}


@pytest.fixture(scope="module")
def shared(simulator: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatedGateway]:
    """One gateway for all tests here."""
    addresses = {CHEAP: f"{simulator}/{PROVIDER}/v1", DEAR: f"{simulator}/{OTHER_PROVIDER}/v1"}
    with dated(tmp_path_factory.mktemp("caps"), Setup(addresses)) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared: DatedGateway, control: httpx.Client) -> DatedGateway:
    """The same, fresh."""
    shared.begin()
    return shared


def capped(**amounts: int) -> Caps:
    """Caps by the names of their spans."""
    return Caps(amounts.get("life"), amounts.get("day"), amounts.get("month"))


def key_of(gateway: DatedGateway, holder: Holder) -> Key:
    """The key as committed now."""
    with gateway.operator() as admin:
        return admin.key(holder.key_id)


def refusal(answer: httpx.Response) -> str:
    """The message of a 402."""
    assert (answer.status_code, error_of(answer)["code"]) == (402, "quota_exhausted"), answer.text
    return str(error_of(answer)["message"])


def told(span: Span, left: int, held: int) -> str:
    """What a refusal says of a cap."""
    return (
        f"This request needs {usd_text(QUOTE.required)} USD and the key's {NAMES[span]} has {usd_text(left)} "
        f"USD left ({usd_text(held)} USD held by requests in flight)."
    )


@contextmanager
def in_flight(
    gateway: DatedGateway, control: httpx.Client, holder: Holder, body: Row
) -> Iterator["Future[httpx.Response]"]:
    """A request that waits at its upstream while the block runs."""
    with ThreadPoolExecutor(1) as pool, at_the_barrier(control):
        call = pool.submit(gateway.ask, holder, body)
        waiting(control, 1)
        yield call
        control.post("/barrier/open")


def spend_all(gateway: DatedGateway, holder: Holder) -> str:
    """One request after the other until there is a refusal; its message."""
    for _ in range(200):
        answer = gateway.ask(holder, BODY)
        gateway.settled(holder)
        if answer.status_code != 200:
            return refusal(answer)
    raise AssertionError("the cap never ended")


@SPANS
def test_a_cap_is_spent_to_where_it_does_not_pay_for_a_request(gateway: DatedGateway, span: Span) -> None:
    """The refusal names the cap and what is left of it; another key of the account goes on."""
    cap = 3 * QUOTE.full
    holder = gateway.holder(caps=capped(**{span.value: cap}))
    message = spend_all(gateway, holder)
    left = cap - key_of(gateway, holder).spent

    assert 0 <= left < QUOTE.required
    assert message.startswith(told(span, left, 0))
    assert "Raise the key's cap" in message
    assert gateway.ask(gateway.another_key(holder.account_id), BODY).status_code == 200


@SPANS
def test_what_is_held_in_flight_counts(gateway: DatedGateway, control: httpx.Client, span: Span) -> None:
    """And is told; when the request has ended the next one is let in."""
    cap = QUOTE.full + QUOTE.required - 1
    holder = gateway.holder(caps=capped(**{span.value: cap}))
    with in_flight(gateway, control, holder, BODY) as first:
        message = refusal(gateway.ask(holder, BODY))
        assert message.startswith(told(span, QUOTE.required - 1, QUOTE.full))
    assert first.result().status_code == 200
    gateway.settled(holder)

    assert gateway.ask(holder, BODY).status_code == 200


@SPANS
def test_the_last_nano_counts(gateway: DatedGateway, span: Span) -> None:
    """A cap of what a request requires lets it in, one of a nano-USD less does not, nor does none at all."""
    for cap, status in ((QUOTE.required, 200), (QUOTE.required - 1, 402), (0, 402)):
        holder = gateway.holder(caps=capped(**{span.value: cap}))
        answer = gateway.ask(holder, BODY)
        assert answer.status_code == status
        gateway.settled(holder)
        assert key_of(gateway, holder).spent <= cap


@SPANS
def test_the_smallest_cap_decides(gateway: DatedGateway, span: Span) -> None:
    """It lowers the limit of an answer, and it is the one that is named."""
    body = asking(3, 1000)
    roomy = {other.value: 10**9 for other in NAMES} | {span.value: cost(body, 800)}
    holder = gateway.holder(caps=capped(**roomy))
    answer = gateway.ask(holder, body)
    assert (answer.status_code, answer.headers["x-llmdeal-output-limit"]) == (200, "800")
    gateway.settled(holder)

    assert f"the key's {NAMES[span]} has" in refusal(gateway.ask(holder, asking(3, CEILING)))


@pytest.mark.parametrize("case", MIDNIGHTS)
def test_a_new_day_and_month_bring_a_new_cap(gateway: DatedGateway, case: str) -> None:
    """At midnight UTC, and not before; the cap over a key's life stays spent."""
    before, renewed = MIDNIGHTS[case]
    for span in NAMES:
        gateway.calendar.turn_to(before)
        holder = gateway.holder(caps=capped(**{span.value: 2 * QUOTE.full}))
        spend_all(gateway, holder)
        refusal(gateway.ask(holder, BODY))
        gateway.calendar.pass_s(1)
        status = gateway.ask(holder, BODY).status_code
        assert status == (200 if span in renewed else 402), span
        gateway.settled(holder)


def test_every_day_has_its_cap_within_that_of_the_month(gateway: DatedGateway) -> None:
    """The month ends before its days do, and the next one begins anew."""
    cap = 2 * QUOTE.full
    holder = gateway.holder(caps=capped(day=cap, month=3 * cap))
    gateway.calendar.turn_to("2031-03-01T00:00:00Z")
    ends, spent = [], []
    for _ in range(31):
        before = key_of(gateway, holder).spent
        ends.append("month" if "cap of the month" in spend_all(gateway, holder) else "day")
        spent.append(key_of(gateway, holder).spent - before)
        gateway.calendar.pass_s(86_400)
    days = ends.index("month")
    assert ends == ["day"] * days + ["month"] * (31 - days)
    assert 3 <= days <= 4
    assert max(spent) <= cap
    key = key_of(gateway, holder)
    assert 3 * cap - QUOTE.required < key.month_spent == sum(spent) <= 3 * cap
    assert spend_all(gateway, holder).startswith(told(Span.DAY, cap - key_of(gateway, holder).day_spent, 0))


@pytest.mark.parametrize("span", [Span.DAY, Span.MONTH], ids=["day", "month"])
def test_a_request_that_runs_over_midnight(gateway: DatedGateway, control: httpx.Client, span: Span) -> None:
    """While it runs it holds of the new day what it holds, and there it is charged."""
    gateway.calendar.turn_to("2031-01-31T23:59:59Z")
    cap = QUOTE.full + QUOTE.required - 1
    holder = gateway.holder(caps=capped(**{span.value: cap}))
    with in_flight(gateway, control, holder, BODY) as first:
        gateway.calendar.pass_s(2)
        message = refusal(gateway.ask(holder, BODY))
        assert message.startswith(told(span, QUOTE.required - 1, QUOTE.full))
    assert first.result().status_code == 200
    [end] = gateway.ends_of(holder)

    key = key_of(gateway, holder)
    assert (key.day_spent, key.month_spent) == (-end["balance_change"], -end["balance_change"])
    assert key.month == 12 * 2031 + 2


def test_a_stream_that_was_short_of_its_day_goes_on_in_the_next(
    gateway: DatedGateway, control: httpx.Client
) -> None:
    """Its hold grows by the cap of the day in which it grows."""
    gateway.calendar.turn_to("2031-01-15T23:59:59Z")
    body = asking(6000, CEILING)
    other = asking(1, 12_000, DEAR) | {"stream": False}
    holder = gateway.holder(caps=capped(day=cost(body, CEILING) + cost(other, 12_000)))
    says(control, "usage", OTHER_PROVIDER, usage={"prompt_tokens": 10, "completion_tokens": 60})
    assert gateway.ask(holder, other).status_code == 200
    gateway.settled(holder)
    with gateway.operator() as admin:
        admin.set_cap(holder.key_id, cost(body, CEILING), per=Span.DAY)
    with at_the_barrier(control):
        call = started(gateway, holder, body)
        waiting(control, 1)
        assert covered(gateway, holder) == WINDOW
        gateway.calendar.pass_s(2)
    text, last, _ = ending(call)
    gateway.settled(holder)

    assert (len(text.split()), last["choices"][0]["finish_reason"]) == (6000, "stop")
    assert key_of(gateway, holder).day_spent == -gateway.ends_of(holder)[-1]["balance_change"]


@SPANS
def test_a_cap_limits_how_far_a_stream_grows(
    gateway: DatedGateway, control: httpx.Client, span: Span
) -> None:
    """Another request of the key holds what the cap has left: the stream ends with what it holds."""
    body, other = asking(9000, 12_000), asking(1, 7000, DEAR) | {"stream": False}
    # What both hold at first, and 100 tokens.
    cap = cost(body, WINDOW) + cost(other, 7000) + 100 * OUTPUT_NANO
    holder = gateway.holder(caps=capped(**{span.value: cap}))
    says(control, "hang", OTHER_PROVIDER)
    with at_the_barrier(control):
        call = started(gateway, holder, body)
        waiting(control, 1)
        taking = started(gateway, holder, other)
        until(lambda: len(gateway.holds(holder)) == 2, what="the other request's hold")
        control.post("/barrier/open")
        _, last, _ = ending(call)
        taking.close()

    assert (last["choices"][0]["finish_reason"], last["usage"]["completion_tokens"]) == (
        "length",
        WINDOW + 100,
    )
    gateway.settled(holder)
    assert key_of(gateway, holder).spent <= cap


@SPANS
def test_an_operator_raises_lifts_and_lowers(gateway: DatedGateway, span: Span) -> None:
    """The next request follows it; what was spent counts, whenever the cap was set."""
    holder = gateway.holder()
    assert gateway.ask(holder, BODY).status_code == 200
    gateway.settled(holder)
    spent = key_of(gateway, holder).spent
    for cap, status in (
        (spent + QUOTE.required - 1, 402),
        (spent + QUOTE.required, 200),
        (0, 402),
        (None, 200),
    ):
        with gateway.operator() as admin:
            changed = admin.set_cap(holder.key_id, cap, per=span)
        assert getattr(changed.caps, {"life": "total"}.get(span.value, span.value)) == cap
        answer = gateway.ask(holder, BODY)
        assert answer.status_code == status, answer.text
        gateway.settled(holder)


@SPANS
def test_many_at_once_never_pass_a_cap(gateway: DatedGateway, span: Span) -> None:
    """Charged and held stay within it at every moment, streams that grow among them."""
    body: Any = asking(1800, 4000)
    cap = 3 * cost(body, 4000)
    holder = gateway.holder(caps=capped(**{span.value: cap}))
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: gateway.ask(holder, body), range(12)))

    assert {answer.status_code for answer in answers} <= {200, 402}
    for answer in answers:
        if answer.status_code == 200:
            assert chunks_of(answer.text)[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    gateway.settled(holder)
    spent = held = 0
    for record in gateway.records(holder)[1:]:
        spent, held = spent - record["balance_change"], held + record["held_change"]
        assert spent + held <= cap
    assert key_of(gateway, holder).spent == spent > 0

"""Requests that name an Idempotency-Key are answered once and charged once, however often they are sent."""

from functools import partial
from typing import Any

import httpx
import pytest
from answers import assert_refusal, chunks_of, untouched
from named import (
    CHAT,
    EMBED,
    HEADER,
    REPLAY,
    Body,
    ask,
    assert_conflict,
    assert_replay,
    assert_running,
    call,
    charged_once,
    chat,
    ends,
    held_back,
    same_said_differently,
)
from processes import until
from world import Customer, World

from llmdeal_litellm.catalog.model import Wallet

KEPT_BYTES_MAX = 256 * 1024
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
ANSWERS: dict[str, tuple[str, Body]] = {
    "plain": (CHAT, chat()),
    "streamed": (CHAT, chat(stream=True)),
    "usage apart": (CHAT, chat(stream=True, stream_options={"include_usage": True})),
    "limit of the caller": (CHAT, chat("say 30 words", max_tokens=7)),
    "streamed, limit of the caller": (CHAT, chat("say 30 words", max_tokens=7, stream=True)),
    "tool call": (CHAT, chat("What is the weather?", tools=[TOOL])),
    "streamed tool call": (CHAT, chat("What is the weather?", tools=[TOOL], stream=True)),
    "beyond ASCII": (CHAT, chat("Grüße aus Zürich — 你好 😀")),
    "lane": (CHAT, chat(model="smart-route", stream=True)),
    "vectors": (EMBED, {"model": "bge-m3", "input": ["one", "two"]}),
    "vectors as base64": (EMBED, {"model": "bge-m3", "input": "one", "encoding_format": "base64"}),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_finished_answer_is_given_again(world: World, customer: Customer, case: str) -> None:
    """Byte for byte, under a request id of its own, as often as it is asked for; charged and sent once."""
    path, body = ANSWERS[case]
    first = ask(world, customer, "a", body, path)
    assert first.status_code == 200, first.text
    charge = charged_once(world, customer)

    with untouched(world, customer):
        for _ in range(3):
            assert_replay(ask(world, customer, "a", body, path), first)

    assert charge["request_id"] == first.headers["x-llmdeal-request-id"]
    if path == CHAT:
        answer_id = chunks_of(first.text)[0]["id"] if body.get("stream") else first.json()["id"]
        assert answer_id == "chatcmpl-" + charge["request_id"].removeprefix("req_")


def test_the_limit_header_is_given_again(world: World, customer: Customer) -> None:
    """Who asks again learns as well that the limit was ours."""
    for stream in (False, True):
        first = ask(world, customer, f"{stream}", chat(stream=stream))
        again = ask(world, customer, f"{stream}", chat(stream=stream))
        assert first.headers["x-llmdeal-output-limit"] == again.headers["x-llmdeal-output-limit"] == "16384"


@pytest.mark.one_wire
def test_without_the_header_every_request_is_a_new_one(world: World, customer: Customer) -> None:
    """Two requests that are the same are two requests."""
    first, second = world.chat(customer), world.chat(customer)

    assert first.json()["id"] != second.json()["id"]
    assert REPLAY not in second.headers
    assert [end["kind"] for end in ends(world, customer)] == ["post", "post"]


@pytest.mark.one_wire
def test_browsers_may_see_that_it_is_a_replay(world: World, customer: Customer) -> None:
    """The header is exposed to scripts of other origins."""
    ask(world, customer, "a")
    assert REPLAY in ask(world, customer, "a").headers["access-control-expose-headers"]


@pytest.mark.one_wire
def test_a_name_belongs_to_an_account(world: World, customer: Customer) -> None:
    """Another account may use the same one for something else; all keys of one account share it."""
    other, second_key = world.customer(), world.another_key(customer)
    first = ask(world, customer, "shared")

    assert ask(world, other, "shared", chat("Something else")).headers.get(REPLAY) is None
    with untouched(world, customer):
        assert_replay(ask(world, second_key, "shared"), first)
        assert_conflict(ask(world, second_key, "shared", chat("Something else")))


@pytest.mark.one_wire
def test_the_same_body_may_be_spelt_differently(world: World, customer: Customer) -> None:
    """Order of keys, blanks and escapes are no difference."""
    body = chat(stream=True, temperature=0.5, stream_options={"include_usage": True}, stop=["x", "y"])
    first = ask(world, customer, "a", body)
    headers = {**customer.headers, HEADER: "a", "content-type": "application/json; charset=utf-8"}
    again = world.client.post(f"/v1{CHAT}", content=same_said_differently(body), headers=headers)

    assert_replay(again, first)
    charged_once(world, customer)


OTHERS: dict[str, tuple[str, Body]] = {
    "another text": (CHAT, chat("Hello?")),
    "streamed": (CHAT, chat(stream=True)),
    "a limit": (CHAT, chat(max_tokens=100)),
    "a field more": (CHAT, chat(user="me")),
    "another model": (CHAT, chat(model="smart-route")),
    "the same model by another name": (CHAT, chat(model="llama-70b")),
    "another endpoint": (EMBED, {"model": "bge-m3", "input": "Hello!"}),
}


@pytest.mark.one_wire
@pytest.mark.parametrize("case", OTHERS)
def test_another_request_under_the_name_is_refused(world: World, customer: Customer, case: str) -> None:
    """422 whether the first has ended or still runs; nothing is held or sent, and the first goes on."""
    path, body = OTHERS[case]
    with held_back(world, customer, "a", chat()) as running, untouched(world, customer):
        assert_conflict(ask(world, customer, "a", body, path), "another request")
    assert running.read_all().status == 200
    charged_once(world, customer)
    with untouched(world, customer):
        assert_conflict(ask(world, customer, "a", body, path), "another request")


@pytest.mark.one_wire
def test_the_order_of_a_list_is_a_difference(world: World, customer: Customer) -> None:
    """Lists say something by their order."""
    ask(world, customer, "a", {"model": "bge-m3", "input": ["one", "two"]}, EMBED)
    assert_conflict(ask(world, customer, "a", {"model": "bge-m3", "input": ["two", "one"]}, EMBED))


@pytest.mark.one_wire
@pytest.mark.parametrize(
    ("path", "body"),
    [(CHAT, chat()), (CHAT, chat(stream=True)), (EMBED, {"model": "bge-m3", "input": "one"})],
    ids=["plain", "streamed", "vectors"],
)
def test_a_request_that_runs_is_409(world: World, customer: Customer, path: str, body: Body) -> None:
    """With Retry-After; nothing more is held or sent, and then its answer is there."""
    with held_back(world, customer, "a", body, path) as running, untouched(world, customer):
        for _ in range(3):
            assert_running(ask(world, customer, "a", body, path))
            assert_running(ask(world, world.another_key(customer), "a", body, path))
    text = running.read_all().text
    again = ask(world, customer, "a", body, path)

    assert again.headers[REPLAY] == "true"
    if not body.get("stream"):
        assert text.endswith(again.text)
    charged_once(world, customer)


BAD_NAMES: dict[str, bytes] = {
    "empty": b"",
    "256 characters": b"x" * 256,
    "8000 characters": b"x" * 8000,
    "space inside": b"a b",
    "tab inside": b"a\tb",
    "comma and blank": b"a, b",
    "Latin-1": "schlüssel".encode("latin-1"),
    "UTF-8": "schlüssel".encode(),
    "high byte": b"\xff",
}


@pytest.mark.one_wire
@pytest.mark.parametrize("case", BAD_NAMES)
@pytest.mark.parametrize("path", [CHAT, EMBED])
def test_a_name_that_is_none_is_refused(world: World, customer: Customer, case: str, path: str) -> None:
    """400 that says what a name is, before anything is held."""
    body = chat() if path == CHAT else {"model": "bge-m3", "input": "one"}
    headers = [(b"authorization", f"Bearer {customer.key}".encode()), (HEADER.encode(), BAD_NAMES[case])]
    with untouched(world, customer):
        answer = world.client.post(f"/v1{path}", json=body, headers=headers)

    message = assert_refusal(answer, 400, "invalid_request")
    assert f"'{HEADER}'" in message
    assert "255" in message


@pytest.mark.one_wire
@pytest.mark.parametrize("blank", ["", " ", " \t "], ids=repr)
def test_a_name_of_blanks_is_refused(world: World, customer: Customer, blank: str) -> None:
    """What stands around a value is none of it, and nothing is no name."""
    with untouched(world, customer):
        answer = call(world, customer, blank, chat()).read_all()

    assert answer.status == 400
    assert '"invalid_request"' in answer.text


@pytest.mark.one_wire
@pytest.mark.parametrize("values", [("a", "b"), ("a", "a"), ("a", "")], ids=str)
def test_two_names_are_refused(world: World, customer: Customer, values: tuple[str, str]) -> None:
    """The header comes once, also when both say the same."""
    headers = [*customer.headers.items(), *((HEADER, value) for value in values)]
    with untouched(world, customer):
        answer = world.client.post(f"/v1{CHAT}", json=chat(), headers=headers)

    assert_refusal(answer, 400, "invalid_request")


@pytest.mark.one_wire
@pytest.mark.parametrize("name", ["x" * 255, "0", "!~", "{}[]\\\"'/?;,:", "a%20b", "../../x"], ids=repr)
def test_every_other_printable_name_is_one(world: World, customer: Customer, name: str) -> None:
    """Up to 255 printable characters, whatever they are, told apart by their case."""
    first = ask(world, customer, name)
    assert first.status_code == 200, first.text

    padded = call(world, customer, f"  {name} \t", chat()).read_all()
    assert f"{REPLAY}: true" in padded.text
    assert padded.text.endswith(first.text)
    if name.swapcase() != name:
        assert REPLAY not in ask(world, customer, name.swapcase()).headers


LONG: dict[str, tuple[str, Body]] = {
    "plain": (CHAT, chat("say 50000 words", model="llama-3.1-8b-instant", max_tokens=100_000)),
    "streamed": (CHAT, chat("say 1500 words", stream=True)),
    "vectors": (EMBED, {"model": "bge-m3", "input": [f"text {i}" for i in range(40)]}),
}


@pytest.mark.one_wire
@pytest.mark.parametrize("case", LONG)
def test_an_answer_that_is_too_long_is_not_kept(world: World, customer: Customer, case: str) -> None:
    """It is given whole and charged once; asked for again there is a sentence about it and nothing runs."""
    path, body = LONG[case]
    first = ask(world, customer, "a", body, path)
    assert first.status_code == 200, first.text
    assert len(first.content) > KEPT_BYTES_MAX
    charged_once(world, customer)

    with untouched(world, customer):
        assert_conflict(ask(world, customer, "a", body, path), "charged", "too long")
        assert_conflict(ask(world, customer, "a", chat("Hello?")), "another request")


def _failures() -> dict[str, tuple[dict[str, Any], int]]:
    found: dict[str, tuple[dict[str, Any], int]] = {
        f"status {status}": ({"behaviour": "status", "status": status}, shown)
        for status, shown in ((400, 400), (401, 502), (429, 429), (500, 502), (503, 502))
    }
    found["html"] = ({"behaviour": "html"}, 502)
    found["cut"] = ({"behaviour": "cut", "after_chunks": 1}, 502)
    return found


@pytest.mark.parametrize("case", _failures())
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_what_failed_before_any_output_may_be_sent_anew(
    world: World, customer: Customer, case: str, stream: bool
) -> None:
    """Nothing was charged, so the name is free: also for another body."""
    script, status = _failures()[case]
    body = chat(stream=stream)
    for name in ("a", "b"):
        world.script(**script)
        assert ask(world, customer, name, body).status_code == status
    first = ask(world, customer, "a", body)
    assert (first.status_code, first.headers.get(REPLAY)) == (200, None), first.text
    other = ask(world, customer, "b", chat("Something else"))

    assert (other.status_code, other.headers.get(REPLAY)) == (200, None)
    assert [end["kind"] for end in ends(world, customer)] == ["void", "void", "post", "post"]
    assert_replay(ask(world, customer, "a", body), first)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_an_empty_answer_that_is_given_back_may_be_asked_for_anew(
    world: World, customer: Customer, stream: bool
) -> None:
    """It was free; the same name runs again."""
    world.script("empty")
    empty = ask(world, customer, "a", chat(stream=stream))
    assert empty.status_code == 200
    first = ask(world, customer, "a", chat(stream=stream))

    assert REPLAY not in first.headers
    assert [end["rule"] for end in ends(world, customer)] == ["empty_answer", "completed"]
    assert_replay(ask(world, customer, "a", chat(stream=stream)), first)


@pytest.mark.one_wire
def test_a_refusal_leaves_the_name_free(world: World) -> None:
    """A mistake, a lack of funds and a partner who is not there use up nothing."""
    customer = world.customer(nano=0)
    for body, status in (
        (chat(temperature="hot"), 400),
        (chat(model="no-such"), 404),
        (chat(model="consortium-llama-70b"), 503),
        (chat(), 402),
        (chat("Something else"), 402),
    ):
        assert ask(world, customer, "a", body).status_code == status
    assert world.records(customer) == []
    with world.admin() as admin:
        admin.credit(customer.account_id, Wallet.BASE, 10**9, note="", now_us=1)

    first = ask(world, customer, "a")
    assert (first.status_code, first.headers.get(REPLAY)) == (200, None), first.text
    assert_replay(ask(world, customer, "a"), first)


BREAKS: dict[str, dict[str, Any]] = {
    "cut": {"behaviour": "cut", "after_chunks": 4},
    "clean end": {"behaviour": "clean_end", "after_chunks": 4},
    "error event": {"behaviour": "error_200", "after_chunks": 4},
}


@pytest.mark.parametrize("case", BREAKS)
def test_a_stream_that_breaks_after_output_was_charged_and_cut(
    world: World, customer: Customer, case: str
) -> None:
    """What came was charged; there is no whole answer, and the sentence says so."""
    world.script(**BREAKS[case])
    broken = ask(world, customer, "a", chat(stream=True))
    assert '"upstream_error"' in broken.text
    assert charged_once(world, customer)["rule"] == "upstream_cut"

    with untouched(world, customer):
        assert_conflict(ask(world, customer, "a", chat(stream=True)), "charged", "cut")


@pytest.mark.one_wire
def test_an_answer_is_given_again_when_nothing_is_left(world: World) -> None:
    """The balance pays for one answer. Its repetition is free; another body is 422 before it is 402."""
    customer, body = world.customer(nano=50_000), chat(max_tokens=30)
    first = ask(world, customer, "a", body)
    assert first.status_code == 200, first.text
    until(lambda: world.post(CHAT, body, customer).status_code == 402, what="the balance to be used up")
    world.settled(customer)
    assert ask(world, customer, "b", body).status_code == 402

    with untouched(world, customer):
        assert_replay(ask(world, customer, "a", body), first)
        assert_conflict(ask(world, customer, "a", chat(max_tokens=31)))


@pytest.mark.one_wire
def test_a_frozen_account_and_a_revoked_key_get_nothing_again(world: World, customer: Customer) -> None:
    """401 and 403 come first; a released account has its answers again."""
    first, second_key = ask(world, customer, "a"), world.another_key(customer)
    with world.admin() as admin:
        admin.revoke_key(second_key.key_id, now_us=1)
        admin.set_frozen(customer.account_id, True)
    # A running gateway knows of it within a second.
    refused = [until(partial(_unless, world, who, 200)) for who in (customer, second_key)]
    with world.admin() as admin:
        admin.set_frozen(customer.account_id, False)

    assert [answer.json()["error"]["code"] for answer in refused] == ["key_frozen", "invalid_api_key"]
    assert_replay(until(partial(_unless, world, customer, 403)), first)


def _unless(world: World, customer: Customer, status: int) -> httpx.Response | None:
    answer = ask(world, customer, "a")
    return None if answer.status_code == status else answer

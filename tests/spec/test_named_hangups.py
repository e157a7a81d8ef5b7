"""A caller who names an Idempotency-Key and hangs up wants the answer all the same, and collects it later."""

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from answers import chunks_of, content_of, untouched
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
    reached,
)
from processes import Config, GatewayProcess, pointed_at, shipped_config, until
from raw import RawCall
from world import Customer, World

WORDS = 60
AT_ONCE = 20
FORMS: dict[str, tuple[str, Body]] = {
    "plain": (CHAT, chat(f"say {WORDS} words")),
    "streamed": (CHAT, chat(f"say {WORDS} words", stream=True)),
    "vectors": (EMBED, {"model": "bge-m3", "input": "one"}),
}


def collected(world: World, customer: Customer, name: str, body: Body, path: str = CHAT) -> httpx.Response:
    """The answer, which is 409 until the first request has ended."""

    def answer() -> httpx.Response | None:
        found = ask(world, customer, name, body, path)
        if found.status_code == 409:
            assert_running(found)
            return None
        return found

    return until(answer, what="the first request to end")


@pytest.mark.one_wire
@pytest.mark.parametrize("case", FORMS)
def test_a_hangup_does_not_stop_a_named_request(world: World, customer: Customer, case: str) -> None:
    """Another caller's hang-up reaches the upstream, this one's does not: it is answered, charged once, and
    its repetition has the whole answer."""
    path, body = FORMS[case]
    other = world.customer()
    world.control.post("/barrier/close")
    named = call(world, customer, "a", body, path)
    reached(world, "waiting", at_least=1)
    unnamed = RawCall(f"{world.base_url}{path}", body, other.key)
    reached(world, "waiting", at_least=2)
    named.close()
    unnamed.close()
    reached(world, "hangups", at_least=1)
    with untouched(world, customer):
        assert_running(ask(world, customer, "a", body, path))
    world.control.post("/barrier/open")

    again = collected(world, customer, "a", body, path)
    assert (again.status_code, again.headers.get(REPLAY)) == (200, "true"), again.text
    assert charged_once(world, customer)["rule"] == "completed"
    assert ends(world, other)[-1]["rule"] == "caller_left"
    assert world.control.get("/hangups").json()["hangups"] == 1


def test_a_hangup_in_a_stream_leaves_the_whole_answer(world: World, customer: Customer) -> None:
    """What the caller had is the beginning of what he collects."""
    world.script("slow", delay_ms=10)
    body = chat(f"say {WORDS} words", stream=True)
    first = call(world, customer, "a", body).read_events(5)
    first.close()

    again = collected(world, customer, "a", body)
    chunks = chunks_of(again.text)
    assert again.headers[REPLAY] == "true"
    assert len(content_of(chunks).split()) == WORDS
    assert content_of(chunks).startswith(first.content)
    assert chunks[0]["id"] == json.loads(first.events[0])["id"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    end = charged_once(world, customer)
    assert (end["rule"], end["output_tokens"]) == ("completed", chunks[-1]["usage"]["completion_tokens"])


@pytest.mark.one_wire
def test_many_hangups_and_one_answer_each(world: World, customer: Customer) -> None:
    """Thirty callers leave at different places of their streams; each one's answer is there afterwards."""
    world.script("slow", delay_ms=5, times=30)
    body = chat(f"say {WORDS} words", stream=True)
    for place in range(30):
        call(world, customer, f"{place}", body).read_events(place % 7).close()
    answers = [collected(world, customer, f"{place}", body) for place in range(30)]

    assert {len(content_of(chunks_of(answer.text)).split()) for answer in answers} == {WORDS}
    assert {end["rule"] for end in ends(world, customer)} == {"completed"}
    assert len(ends(world, customer)) == 30
    world.verify()


@pytest.mark.one_wire
@pytest.mark.parametrize("case", FORMS)
async def test_of_twenty_at_once_one_is_served(world: World, customer: Customer, case: str) -> None:
    """One upstream call and one charge; all others are told to wait, or have the same answer."""
    sent = world.upstream_count()
    answers = await posted(world, customer, AT_ONCE * ["a"], case)

    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) <= {200, 409}
    assert statuses[200] >= 1
    assert len({answer.content for answer in answers if answer.status_code == 200}) == 1
    assert [answer.headers.get(REPLAY) for answer in answers].count(None) == 1 + statuses[409]
    assert world.upstream_count() == sent + 1
    charged_once(world, customer)
    path, body = FORMS[case]
    assert ask(world, customer, "a", body, path).headers[REPLAY] == "true"


async def posted(world: World, customer: Customer, names: Iterable[str], case: str) -> list[httpx.Response]:
    """The answers to a request under each of these names, all sent at once."""
    path, body = FORMS[case]
    async with httpx.AsyncClient(base_url=world.base_url, timeout=60, headers=customer.headers) as client:
        sent = (client.post(path, json=body, headers={HEADER: name}) for name in names)
        return await asyncio.gather(*sent)


@pytest.mark.one_wire
async def test_twenty_names_at_once_are_twenty_requests(world: World, customer: Customer) -> None:
    """They do not stand in each other's way, whoever of them comes twice."""
    answers = await posted(world, customer, (f"{i % AT_ONCE}" for i in range(3 * AT_ONCE)), "plain")

    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len([end for end in ends(world, customer) if end["kind"] == "post"]) == AT_ONCE
    world.verify()


@pytest.mark.one_wire
def test_nothing_of_prompt_and_answer_can_be_read_in_the_store(world: World, customer: Customer) -> None:
    """The kept answer quotes its prompt; no file of the data folder has either, WAL and all."""
    marks = ["ZIRKUSMAXIMUS", "QUADRATWURZEL"]
    for stream, mark in zip((False, True), marks, strict=True):
        body = chat(f"My secret is {mark}.", stream=stream, max_tokens=90)
        first = ask(world, customer, f"named-{mark}", body)
        said = content_of(chunks_of(first.text)) if stream else first.text
        assert mark in said
        assert_replay(ask(world, customer, f"named-{mark}", body), first)
    with closing(sqlite3.connect(world.gateway.database)) as connection:
        select = "SELECT state, answer FROM idempotency WHERE account_id = ?"
        rows = connection.execute(select, (customer.account_id,)).fetchall()
    assert [state for state, _ in rows] == ["kept", "kept"]

    files = [path for path in (world.gateway.folder / "data").rglob("*") if path.is_file()]
    assert {"llmdeal.db", "llmdeal.db-wal"} <= {path.name for path in files}
    for path in (*files, world.gateway.folder / "gateway.log"):
        content = path.read_bytes()
        for text in (*marks, "My secret", "simulated answer", "named-"):
            assert text.encode() not in content, f"{path.name} has {text}"


@contextmanager
def life(world: World, folder: Path, config: Config | None = None) -> Iterator[World]:
    """One run of a gateway of its own, with the shared simulator behind it; it ends by kill -9."""
    gateway = GatewayProcess.launch(folder, config)
    try:
        found = World(gateway.wait_until_ready(), simulator_of(world), world.wire)
        yield found
        found.close()
    finally:
        gateway.kill()


def simulator_of(world: World) -> str:
    """The address of the shared simulator."""
    return str(world.control.base_url).removesuffix("/control/")


def marked(world: World, customer: Customer) -> list[Any]:
    """The account's open holds with output delivered."""
    with closing(sqlite3.connect(world.gateway.database)) as connection:
        select = "SELECT request_id FROM open_holds WHERE account_id = ? AND delivered_output > 0"
        return connection.execute(select, (customer.account_id,)).fetchall()


@pytest.mark.one_wire
def test_what_a_crash_leaves_of_named_requests(world: World, tmp_path: Path) -> None:
    """kill -9: what was kept is given again, what had delivered nothing may be sent anew, and what had was
    charged and cut."""
    streamed = chat(f"say {WORDS} words", stream=True)
    with life(world, tmp_path, pointed_at(simulator_of(world), shipped_config())) as first:
        customer = first.customer(tier="demo")
        kept = ask(first, customer, "kept", streamed)
        assert kept.status_code == 200, kept.text
        first.settled(customer)
        first.script("hang", after_chunks=20)
        cut = call(first, customer, "cut", streamed).read_events(10)
        until(lambda: marked(first, customer), what="a delivery mark")
        first.control.post("/barrier/close")
        free = call(first, customer, "free", chat())
        call(first, customer, "left", streamed).close()
        reached(first, "waiting", at_least=2)
    cut.close()
    free.close()
    world.control.post("/reset")

    with life(world, tmp_path) as second:
        assert [end["rule"] for end in ends(second, customer)] == [
            "completed",
            *sorted(("crash_delivered", "crash_undelivered", "crash_undelivered")),
        ]
        with untouched(second, customer):
            assert_replay(ask(second, customer, "kept", streamed), kept)
            assert_conflict(ask(second, customer, "cut", streamed), "charged", "cut")
            assert_conflict(ask(second, customer, "kept", chat()), "another request")
        for name, body in (("free", chat()), ("left", streamed)):
            anew = ask(second, customer, name, body)
            assert (anew.status_code, anew.headers.get(REPLAY)) == (200, None), anew.text
            assert_replay(ask(second, customer, name, body), anew)
        second.settled(customer)
        second.verify()

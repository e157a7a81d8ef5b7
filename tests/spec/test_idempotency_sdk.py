"""The OpenAI SDK, unchanged, with an Idempotency-Key in extra_headers: its retries collect the answer."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import concealment
import httpx
import openai
import pytest
from named import HEADER, REPLAY, charged_once, chat, ends, held_back
from world import Customer, World

pytestmark = pytest.mark.one_wire

HELLO: Any = [{"role": "user", "content": "Hello!"}]
MODEL = "llama-3.3-70b"
NAME = "from-the-sdk"
NAMED: Any = {"extra_headers": {HEADER: NAME}}
IMPATIENT_S = 1.0


class Statuses:
    """The statuses that the SDK was answered; the first 409 lets the upstream go on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.seen: list[int] = []

    def note(self, response: httpx.Response) -> None:
        """Called for each answer."""
        self.seen.append(response.status_code)
        if response.status_code == 409:
            self._world.control.post("/barrier/open")


@contextmanager
def sdk(world: World, customer: Customer, **options: Any) -> Iterator[tuple[openai.OpenAI, Statuses]]:
    """The SDK as a customer would set it up, its answers watched."""
    statuses = Statuses(world)
    watched = httpx.Client(event_hooks={"response": [concealment.watch, statuses.note]})
    options = {"max_retries": 6, **options}
    with openai.OpenAI(
        api_key=customer.key, base_url=world.base_url, http_client=watched, **options
    ) as client:
        yield client, statuses


def text_of(client: openai.OpenAI, stream: bool) -> tuple[str, str]:
    """Id and text of a named answer."""
    if not stream:
        plain = client.chat.completions.create(model=MODEL, messages=HELLO, **NAMED)
        return plain.id, plain.choices[0].message.content or ""
    chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True, **NAMED))
    assert chunks[-1].choices[0].finish_reason == "stop"
    return chunks[0].id, "".join(c.choices[0].delta.content or "" for c in chunks)


FORMS = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


@FORMS
def test_the_sdk_waits_for_the_answer_of_the_first(world: World, customer: Customer, stream: bool) -> None:
    """Its retries get past 409 and end with the answer that the first request got."""
    body = chat(stream=True) if stream else chat()
    with held_back(world, customer, NAME, body) as first, sdk(world, customer) as (client, statuses):
        answer_id, text = text_of(client, stream)
        first.read_all()

    assert (statuses.seen[0], statuses.seen[-1]) == (409, 200)
    assert answer_id in first.text
    if stream:
        assert text == first.content
    else:
        answer = json.loads(first.text.partition("\r\n\r\n")[2])
        assert text == answer["choices"][0]["message"]["content"]
    charged_once(world, customer)


@FORMS
def test_an_impatient_sdk_is_charged_once(world: World, customer: Customer, stream: bool) -> None:
    """It gives up waiting, hangs up and asks again: one upstream call, one charge, and the whole answer."""
    sent = world.upstream_count()
    world.control.post("/barrier/close")
    with sdk(world, customer, timeout=IMPATIENT_S) as (client, statuses):
        answer_id, text = text_of(client, stream)

    assert text.startswith("This is a simulated answer")
    assert (statuses.seen[0], statuses.seen[-1]) == (409, 200)
    end = charged_once(world, customer)
    assert (end["rule"], answer_id) == ("completed", f"chatcmpl-{end['request_id'].removeprefix('req_')}")
    assert world.upstream_count() == sent + 1


def test_impatient_embeddings_are_charged_once(world: World, customer: Customer) -> None:
    """The same for vectors."""
    world.control.post("/barrier/close")
    with sdk(world, customer, timeout=IMPATIENT_S) as (client, statuses):
        found = client.embeddings.create(model="bge-m3", input=["one", "two"], **NAMED)

    assert [len(one.embedding) for one in found.data] == [1024, 1024]
    assert (statuses.seen[0], statuses.seen[-1]) == (409, 200)
    charged_once(world, customer)


@FORMS
def test_the_sdk_sends_anew_what_failed(world: World, customer: Customer, stream: bool) -> None:
    """An upstream's failure frees the name, so that the SDK's retry under it is served."""
    world.script("status", status=500)
    with sdk(world, customer) as (client, statuses):
        _, text = text_of(client, stream)

    assert text
    assert statuses.seen == [502, 200]
    assert [end["kind"] for end in ends(world, customer)] == ["void", "post"]


@FORMS
def test_the_sdk_sees_a_replay(world: World, customer: Customer, stream: bool) -> None:
    """The same objects as before, and the header in its raw answer."""
    with sdk(world, customer) as (client, _):
        assert text_of(client, stream) == text_of(client, stream)
        form: Any = {"stream": True} if stream else {}
        raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO, **form, **NAMED)
    assert raw.headers[REPLAY] == "true"
    charged_once(world, customer)


def test_conflicts_are_the_sdks_own_errors(world: World, customer: Customer) -> None:
    """409 is ConflictError once its retries are used up, 422 is UnprocessableEntityError at once."""
    with held_back(world, customer, NAME, chat()) as first:
        with sdk(world, customer, max_retries=0) as (client, _), pytest.raises(openai.ConflictError) as busy:
            text_of(client, False)
        with sdk(world, customer) as (client, seen), pytest.raises(openai.UnprocessableEntityError) as other:
            text_of(client, True)
        assert seen.seen == [422]
        first.read_all()

    assert (busy.value.code, other.value.code) == ("request_in_progress", "idempotency_conflict")
    assert busy.value.response.headers["retry-after"] == "1"


async def test_the_asynchronous_sdk_does_the_same(world: World, customer: Customer) -> None:
    """AsyncOpenAI: an impatient plain request, a stream given again, a conflict."""
    watched = httpx.AsyncClient(event_hooks={"response": [concealment.watch_async]})
    async with openai.AsyncOpenAI(
        api_key=customer.key, base_url=world.base_url, http_client=watched, max_retries=0
    ) as client:
        first = await client.chat.completions.create(model=MODEL, messages=HELLO, **NAMED)
        again = await client.chat.completions.create(model=MODEL, messages=HELLO, **NAMED)
        with pytest.raises(openai.UnprocessableEntityError):
            await client.embeddings.create(model="bge-m3", input="Hello!", **NAMED)

    assert first == again
    charged_once(world, customer)


def test_the_sdk_names_nothing_unasked(world: World, customer: Customer) -> None:
    """Without the header the SDK's requests are all new: nothing changes for who does not ask for it."""
    with sdk(world, customer) as (client, _):
        ids = {client.chat.completions.create(model=MODEL, messages=HELLO).id for _ in range(2)}

    assert len(ids) == 2
    assert len(ends(world, customer)) == 2

"""Three wires, one API: what a wire cannot do is in its table, and nothing else tells them apart.

Source: the wires' own documentation, as the table's rows say; `tests/harness/wires.py` has the table.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from answers import assert_refusal, chunks_of, content_of
from openai import OpenAI
from pydantic import BaseModel
from wires import REFUSED, SCHEMA, WIRES, Cannot
from wires import TOOL as LOOK
from world import Customer, World

Lacking = Callable[[str], Cannot | None]
ROWS = sorted({row.what for wire in WIRES.values() for row in wire.cannot})


@pytest.mark.parametrize("what", ROWS)
def test_what_a_wire_lacks_is_dropped_or_refused(
    world: World, customer: Customer, lacking: Lacking, what: str
) -> None:
    """A dropped field leaves the request as it is without it; a refused one holds nothing and says which.

    Where the wire lacks nothing the same request is answered.
    """
    row = lacking(what)
    if row is None:
        request = next(r.request for w in WIRES.values() for r in w.cannot if r.what == what)
        response = world.chat(customer, **request)
        assert response.status_code == 200 or _refused_upstream(response), response.text
    elif row.outcome == REFUSED:
        response = world.chat(customer, **row.request)
        message = assert_refusal(response, 400, "invalid_request")
        assert what.split(" ")[0] in message or "'messages" in message
        world.settled(customer)
        assert not [r for r in world.records(customer) if r["kind"] == "post"]
    else:
        kept = {n: v for n, v in row.request.items() if n not in what.split(" ")}
        assert world.chat(customer, **row.request).status_code == 200
        world.chat(customer, **{**kept, **_rest(row)})
        with_it, without_it = world.upstream_requests(last=2)
        assert with_it["sha256"] == without_it["sha256"]


def _rest(row: Cannot) -> dict[str, Any]:
    """What of the dropped field is not dropped."""
    return {
        "stop beyond five": {"stop": row.request.get("stop", [])[:5]},
        "top_p beside temperature": {"temperature": row.request.get("temperature")},
        "strict": {"tools": [LOOK]},
    }.get(row.what, {})


def _refused_upstream(response: Any) -> bool:
    """A provider of the OpenAI wire may have rules of its own, which its upstream tells."""
    return response.status_code == 400 and response.json()["error"]["code"] == "invalid_request"


class Trip(BaseModel):
    """What the model fills in."""

    city: str
    days: int


def weather(city: str) -> str:
    """The caller's own tool."""
    return f"22 degrees in {city}"


TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def ask_with_tools(client: OpenAI, model: str) -> str:
    """A caller's ordinary tool loop: nothing in it knows of wires."""
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Bern?"}]
    message = client.chat.completions.create(model=model, messages=messages, tools=[TOOL]).choices[0].message
    messages.append(message)
    for call in message.tool_calls or ():
        assert call.type == "function"
        result = weather(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    last = client.chat.completions.create(model=model, messages=messages, tools=[TOOL])
    return last.choices[0].message.content or ""


def ask_with_tools_streamed(client: OpenAI, model: str) -> str:
    """The same loop with the SDK's stream helper."""
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Bern?"}]
    with client.chat.completions.stream(model=model, messages=messages, tools=[TOOL]) as stream:
        message = stream.get_final_completion().choices[0].message
    messages.append(message)
    for call in message.tool_calls or ():
        result = weather(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    with client.chat.completions.stream(model=model, messages=messages, tools=[TOOL]) as stream:
        return stream.get_final_completion().choices[0].message.content or ""


@pytest.fixture
def client(world: World, customer: Customer) -> OpenAI:
    """The SDK, pointed at the gateway."""
    return OpenAI(api_key=customer.key, base_url=world.base_url, max_retries=0)


@pytest.mark.parametrize("loop", [ask_with_tools, ask_with_tools_streamed], ids=["plain", "streamed"])
def test_the_sdks_tool_loop_runs_on_every_wire(client: OpenAI, loop: Callable[[OpenAI, str], str]) -> None:
    """The result of the caller's tool comes back in the answer."""
    assert "22 degrees in simulated" in loop(client, "llama-3.3-70b")


def test_the_sdks_parse_runs_on_every_wire(client: OpenAI) -> None:
    """`.parse()` gives the caller's own type, plain and streamed."""
    question: Any = [{"role": "user", "content": "Where do I go?"}]
    plain = client.chat.completions.parse(model="llama-3.3-70b", messages=question, response_format=Trip)
    with client.chat.completions.stream(
        model="llama-3.3-70b", messages=question, response_format=Trip
    ) as stream:
        streamed = stream.get_final_completion()

    for found in (plain, streamed):
        trip = found.choices[0].message.parsed
        assert isinstance(trip, Trip)
        assert found.choices[0].finish_reason == "stop"


def test_a_refusal_of_the_model_ends_with_content_filter(world: World, customer: Customer) -> None:
    """Where the vendor stops the model the caller learns so, and not which vendor."""
    if world.wire.name == "openai":
        world.script("usage", provider=world.wire.provider, usage=None)
        return
    for stream in (False, True):
        response = world.chat(customer, "Please refuse this.", stream=stream)
        assert response.status_code == 200, response.text
        choice = (chunks_of(response.text)[-1] if stream else response.json())["choices"][0]
        assert choice["finish_reason"] == "content_filter"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_a_cut_stream_stays_cut(world: World, customer: Customer, stream: bool) -> None:
    """No wire's end is made up: an answer that breaks off is an error, before output and after it."""
    world.script("cut", after_chunks=3)
    response = world.chat(customer, "say 40 words", stream=stream)

    if stream and response.status_code == 200:
        assert "[DONE]" not in response.text
        assert '"upstream_error"' in response.text.rstrip().splitlines()[-1]
    else:
        assert_refusal(response, 502, "upstream_error")


@pytest.mark.parametrize("after", [0, 6], ids=["at once", "after output"])
def test_an_end_without_a_reason_is_no_end(world: World, customer: Customer, after: int) -> None:
    """A stream that closes in good order and never said why is not complete."""
    world.script("clean_end", after_chunks=after)
    response = world.chat(customer, "say 40 words", stream=True)

    if response.status_code == 200:
        assert "[DONE]" not in response.text
        assert '"upstream_error"' in response.text.rstrip().splitlines()[-1]
    else:
        assert_refusal(response, 502, "upstream_error")
    assert world.last_end(customer)["rule"] in ("upstream_cut", "failed_before_output")


def test_words_arrive_whole_and_once(world: World, customer: Customer) -> None:
    """The same question has the same text, plain and streamed."""
    plain = world.chat(customer, "say 300 words").json()["choices"][0]["message"]["content"]
    streamed = content_of(chunks_of(world.chat(customer, "say 300 words", stream=True).text))

    assert plain == streamed
    assert len(plain.split()) == 300


def test_a_schema_may_stand_beside_instructions(world: World, customer: Customer) -> None:
    """System texts, history and a format in one request."""
    messages = [
        {"role": "system", "content": "You plan trips."},
        {"role": "assistant", "content": "Welcome!"},
        {"role": "user", "content": "Answer in JSON."},
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Now."},
    ]
    response = world.chat(customer, messages=messages, response_format=SCHEMA)

    assert response.status_code == 200, response.text
    assert set(json.loads(response.json()["choices"][0]["message"]["content"])) == {"a"}


def test_an_unknown_tool_result_is_the_callers_mistake(world: World, customer: Customer) -> None:
    """Said as a 400 that names the messages, and nothing is charged."""
    history = [{"role": "user", "content": "Hi"}, {"role": "tool", "tool_call_id": "call_9", "content": "22"}]

    response = world.chat(customer, messages=history)
    if response.status_code != 200:  # some upstreams of the OpenAI wire take it
        assert "message" in assert_refusal(response, 400, "invalid_request")
        assert not [r for r in world.records(customer) if r["kind"] == "post"]


FRONTIER = {
    "claude-sonnet-4-6-frontier": "anthropic",
    "claude-opus-4-7-frontier": "anthropic",
    "gpt-5.5-frontier": "openai",
}
"""By alias, the provider on whose wire it is."""


@pytest.mark.one_wire
@pytest.mark.parametrize("alias", FRONTIER)
def test_frontier_tools_and_formats_work(world: World, alias: str) -> None:
    """The vendor's rules about thinking beside tools are the gateway's business."""
    customer = world.customer(addon=True, frontier_nano=10**10)
    client = OpenAI(api_key=customer.key, base_url=world.base_url, max_retries=0)

    assert "22 degrees" in ask_with_tools(client, alias)
    assert world.upstream_requests()[-1]["provider"] == FRONTIER[alias]
    for effort in ("low", "high"):
        question: Any = [{"role": "user", "content": "Where do I go?"}]
        parsed = client.chat.completions.parse(
            model=alias, messages=question, response_format=Trip, reasoning_effort=effort, temperature=0.3
        )
        assert isinstance(parsed.choices[0].message.parsed, Trip)
        answer = client.chat.completions.create(
            model=alias, messages=question, tools=[TOOL], tool_choice="required", reasoning_effort=effort
        )
        assert answer.choices[0].finish_reason == "tool_calls"

"""API reference, "SDK compatibility": the OpenAI SDK, unchanged, with base_url and api_key set."""

import json
from collections.abc import Iterator
from typing import Any

import concealment
import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageFunctionToolCall
from pydantic import BaseModel
from world import Customer, World

HELLO: Any = [{"role": "user", "content": "Hello!"}]
WEATHER: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
PARSING_ALIASES = ("llama-3.3-70b", "gpt-oss-120b", "qwen3-235b-cerebras", "codestral", "smart-route")


class Answer(BaseModel):
    """What the model is asked to fill in."""

    summary: str
    words: list[str]


def sdk(world: World, customer: Customer, **options: Any) -> openai.OpenAI:
    """The SDK as a customer would set it up, its answers watched."""
    watched = httpx.Client(event_hooks={"response": [concealment.watch]})
    return openai.OpenAI(
        api_key=customer.key, base_url=world.base_url, http_client=watched, **{"max_retries": 0, **options}
    )


@pytest.fixture
def client(world: World, customer: Customer) -> Iterator[openai.OpenAI]:
    """The SDK of a pro account."""
    with sdk(world, customer) as found:
        yield found


def test_the_reference_example_runs(client: openai.OpenAI) -> None:
    """The reference's openai-python example prints an answer."""
    resp = client.chat.completions.create(model="smart-route", messages=HELLO)

    assert resp.choices[0].message.content
    assert resp.model == "llama-3.3-70b"
    assert resp.usage is not None
    assert resp.usage.total_tokens == resp.usage.prompt_tokens + resp.usage.completion_tokens


@pytest.mark.parametrize("include_usage", [False, True])
def test_a_stream_is_parsed(client: openai.OpenAI, include_usage: bool) -> None:
    """Chunks parse; usage is on exactly one of them."""
    stream = client.chat.completions.create(
        model="smart-route", messages=HELLO, stream=True, stream_options={"include_usage": include_usage}
    )

    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert sum(c.usage is not None for c in chunks) == 1
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"


def test_the_stream_helper_gathers_an_answer(client: openai.OpenAI) -> None:
    """`.stream()` needs complete chunks; what it gathers is the plain answer."""
    with client.chat.completions.stream(model="llama-3.3-70b", messages=HELLO) as stream:
        kinds = {event.type for event in stream}
        gathered = stream.get_final_completion()

    assert {"chunk", "content.delta", "content.done"} <= kinds
    plain = client.chat.completions.create(model="llama-3.3-70b", messages=HELLO)
    assert gathered.choices[0].message.content == plain.choices[0].message.content
    assert gathered.choices[0].finish_reason == "stop"


def test_the_stream_helper_gathers_tool_calls(client: openai.OpenAI) -> None:
    """`.stream()` with tools ends with whole, parsed calls."""
    with client.chat.completions.stream(
        model="qwen3-235b-cerebras", messages=WEATHER, tools=[TOOL]
    ) as stream:
        gathered = stream.get_final_completion()

    calls = gathered.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.name == "get_weather"
    assert calls[0].function.parsed_arguments == {"city": "simulated"}


@pytest.mark.parametrize("model", ["smart-route", "codestral", "qwen3-235b-cerebras", "gpt-oss-120b"])
def test_a_tools_loop_closes(client: openai.OpenAI, model: str) -> None:
    """A call, its result sent back under the id that we gave, and an answer from it."""
    messages = list(WEATHER)
    first = client.chat.completions.create(model=model, messages=messages, tools=[TOOL])
    assert first.choices[0].finish_reason == "tool_calls"
    [call] = first.choices[0].message.tool_calls or []
    assert isinstance(call, ChatCompletionMessageFunctionToolCall)
    assert json.loads(call.function.arguments) == {"city": "simulated"}

    messages += [first.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "22 degrees"}]
    second = client.chat.completions.create(model=model, messages=messages, tools=[TOOL])

    assert second.choices[0].finish_reason == "stop"
    assert "22 degrees" in (second.choices[0].message.content or "")


@pytest.mark.parametrize("model", PARSING_ALIASES)
def test_parse_returns_the_asked_for_type(client: openai.OpenAI, model: str) -> None:
    """`.parse()` with a pydantic model gets an instance of it on every alias that honours the format."""
    parsed = client.chat.completions.parse(model=model, messages=HELLO, response_format=Answer)

    assert isinstance(parsed.choices[0].message.parsed, Answer)
    assert parsed.choices[0].finish_reason == "stop"
    assert not parsed.choices[0].message.tool_calls


@pytest.mark.parametrize("model", PARSING_ALIASES)
def test_a_parsed_stream_returns_the_asked_for_type(client: openai.OpenAI, model: str) -> None:
    """`.stream()` with a response format does too."""
    with client.chat.completions.stream(model=model, messages=HELLO, response_format=Answer) as stream:
        gathered = stream.get_final_completion()

    assert isinstance(gathered.choices[0].message.parsed, Answer)


def test_embeddings_are_decoded(client: openai.OpenAI) -> None:
    """The SDK asks for base64 on its own and hands out floats."""
    found = client.embeddings.create(model="bge-m3", input=["The quick brown fox", "Embed me too."])

    assert [e.index for e in found.data] == [0, 1]
    assert [len(e.embedding) for e in found.data] == [1024, 1024]
    assert all(isinstance(x, float) for x in found.data[0].embedding)
    plain = client.embeddings.create(
        model="bge-m3", input=["The quick brown fox", "Embed me too."], encoding_format="float"
    )
    assert plain.data[1].embedding == pytest.approx(found.data[1].embedding, abs=1e-7)


def test_models_are_listed_and_retrieved(client: openai.OpenAI) -> None:
    """models.list pages through all; models.retrieve takes ids with a slash."""
    listed = [m.id for m in client.models.list()]

    assert "llama-70b" in listed
    assert "smart-route" in listed
    for name in listed:
        found = client.models.retrieve(name)
        assert (found.id, found.owned_by) == (name, "llmdeal")
    assert client.models.retrieve("nvidia/llama-3.3-70b").id == "nvidia/llama-3.3-70b"


ERRORS: dict[str, tuple[dict[str, Any], dict[str, Any], type[openai.APIStatusError], int, str]] = {
    "frozen": ({"frozen": True}, {}, openai.PermissionDeniedError, 403, "key_frozen"),
    "unknown model": ({}, {"model": "gpt"}, openai.NotFoundError, 404, "model_not_available"),
    "tier": (
        {"tier": "starter"},
        {"model": "codestral"},
        openai.PermissionDeniedError,
        403,
        "model_not_in_tier",
    ),
    "bad request": ({}, {"temperature": "hot"}, openai.BadRequestError, 400, "invalid_request"),
    "no funds": ({"nano": 0}, {}, openai.APIStatusError, 402, "quota_exhausted"),
    "no partner": (
        {},
        {"model": "consortium-llama-70b"},
        openai.InternalServerError,
        503,
        "no_consortium_machine_available",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_refusals_raise_the_sdks_own_errors(world: World, case: str, stream: bool) -> None:
    """Each refusal is the SDK's class for its status, with code, message, type and request id."""
    account, fields, kind, status, code = ERRORS[case]
    with sdk(world, world.customer(**account)) as client, pytest.raises(kind) as raised:
        client.chat.completions.create(
            **{"model": "smart-route", "messages": HELLO, "stream": stream, **fields}
        )

    error = raised.value
    assert (error.status_code, error.code) == (status, code)
    assert isinstance(error.body, dict)
    assert error.body["message"] in error.message
    assert error.type == error.body["type"]
    assert error.response.headers["x-llmdeal-request-id"].startswith("req_")


def test_a_wrong_key_is_an_authentication_error(world: World) -> None:
    """401 is AuthenticationError with code invalid_api_key."""
    nobody = Customer("", "", "lld_" + "0" * 32)
    with sdk(world, nobody) as client, pytest.raises(openai.AuthenticationError) as raised:
        client.models.list()

    assert raised.value.code == "invalid_api_key"


def test_a_body_that_is_too_large_is_a_status_error(client: openai.OpenAI) -> None:
    """413 reaches the SDK as an APIStatusError, not as a broken connection."""
    with pytest.raises(openai.APIStatusError) as raised:
        client.chat.completions.create(
            model="smart-route", messages=[{"role": "user", "content": "x" * 10**6}]
        )

    assert (raised.value.status_code, raised.value.code) == (413, "request_too_large")


def test_a_throttled_upstream_is_a_rate_limit_error(world: World, client: openai.OpenAI) -> None:
    """429 is RateLimitError and carries our Retry-After."""
    world.script("status", status=429, headers={"retry-after": "9"})
    with pytest.raises(openai.RateLimitError) as raised:
        client.chat.completions.create(model="llama-3.3-70b", messages=HELLO)

    assert raised.value.code == "rate_limited"
    assert raised.value.response.headers["retry-after"] == "9"


def test_the_sdk_retries_what_is_worth_it(world: World, customer: Customer) -> None:
    """With its default retries the SDK gets past one failure of an upstream, and not past a refusal."""
    world.script("status", status=500)
    with sdk(world, customer, max_retries=2) as client:
        assert client.chat.completions.create(model="llama-3.3-70b", messages=HELLO).choices
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model="consortium-llama-70b", messages=HELLO)
    assert [r["kind"] for r in world.records(customer) if r["kind"] == "hold"] == ["hold", "hold"]


def test_an_error_in_the_middle_of_a_stream_is_raised(world: World, client: openai.OpenAI) -> None:
    """The error event of a stream that breaks is an APIError with our message."""
    world.script("cut", after_chunks=4)
    with pytest.raises(openai.APIError) as raised:
        list(client.chat.completions.create(model="llama-3.3-70b", messages=HELLO, stream=True))

    assert raised.value.code == "upstream_error"


async def test_the_asynchronous_client_does_the_same(world: World, customer: Customer) -> None:
    """AsyncOpenAI: plain, streamed, parsed, embeddings, models, an error."""
    watched = httpx.AsyncClient(event_hooks={"response": [concealment.watch_async]})
    async with openai.AsyncOpenAI(
        api_key=customer.key, base_url=world.base_url, http_client=watched, max_retries=0
    ) as client:
        plain = await client.chat.completions.create(model="smart-route", messages=HELLO)
        stream = await client.chat.completions.create(model="smart-route", messages=HELLO, stream=True)
        text = "".join([c.choices[0].delta.content or "" async for c in stream])
        parsed = await client.chat.completions.parse(
            model="llama-3.3-70b", messages=HELLO, response_format=Answer
        )
        vectors = await client.embeddings.create(model="mistral-embed", input="Hello")
        model = await client.models.retrieve("nvidia/llama-3.3-70b")
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("no-such")

    assert text == plain.choices[0].message.content
    assert isinstance(parsed.choices[0].message.parsed, Answer)
    assert len(vectors.data[0].embedding) == 1024
    assert model.id == "nvidia/llama-3.3-70b"

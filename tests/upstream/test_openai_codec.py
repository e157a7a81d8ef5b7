"""The OpenAI wire: requests are built anew, answers are read strictly, and nothing else gets through."""

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from shipped import EVERYTHING, AsItIs, member_of, plan_of, sent

from llmdeal_litellm.policy.answer import Answer, Delta, ToolCallPart
from llmdeal_litellm.policy.embeddings import parse_embeddings
from llmdeal_litellm.policy.usage import Claim
from llmdeal_litellm.upstream.codecs.openai import OpenAiCodec
from llmdeal_litellm.upstream.codecs.wire import CannotHonour
from llmdeal_litellm.upstream.failures import BrokenAnswer, ErrorEvent, from_event

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
FULL: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.9,
    "seed": 7,
    "stop": ["x"],
    "tools": [TOOL],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "response_format": {"type": "json_object"},
    "logprobs": True,
    "top_logprobs": 2,
    "logit_bias": {"1": 5},
    "reasoning_effort": "low",
    "presence_penalty": 0.1,
    "frequency_penalty": 0.2,
}


def test_the_request_is_built_from_named_fields_only() -> None:
    """What the caller may set goes on; names nobody knows, and what says who the caller is, do not."""
    strange = {"user": "ada", "metadata": {"a": 1}, "store": True, "service_tier": "priority", "x": 1, "n": 1}
    call = plan_of({**FULL, **strange, "max_tokens": 5}).call(64)
    messages = [{"role": "user", "content": "Hello!"}]
    assert sent(call) == {"model": "their-model", "messages": messages, **FULL, "max_tokens": 64}
    assert call.url == "https://up/v1/chat/completions"
    assert set(call.headers) == {"authorization", "content-type", "accept", "accept-encoding", "user-agent"}


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_the_output_limit_is_set_once_and_within_the_ceiling(field: str) -> None:
    """One field, in the provider's name for it, never above what the member can."""
    takes = AsItIs(EVERYTHING - {"max_tokens"} | {field})
    for limit, wanted in ((64, 64), (10**6, 1000)):
        body = sent(plan_of({"max_tokens": 1, "max_completion_tokens": 2}, takes=takes).call(limit))
        assert {n: v for n, v in body.items() if n.startswith("max")} == {field: wanted}


@pytest.mark.parametrize("name", ["tools", "response_format", "logprobs"])
def test_a_field_that_changes_the_meaning_is_honoured_or_refused(name: str) -> None:
    """A provider that lacks it is ruled out, by the field's public name."""
    takes = AsItIs(EVERYTHING - {name})
    with pytest.raises(CannotHonour) as cannot:
        plan_of({name: FULL[name]}, takes=takes)
    assert cannot.value.field == name
    assert name not in sent(plan_of({}, takes=takes).call(1))


def test_a_tuning_field_that_a_provider_lacks_is_dropped() -> None:
    """Tuning fields do not change what the answer means."""
    body = sent(plan_of({"temperature": 1, "seed": 7, "stop": "x"}, takes=AsItIs(frozenset())).call(1))
    assert set(body) - {"model", "messages"} <= {"max_tokens", "max_completion_tokens"}


def test_images_need_a_member_that_sees() -> None:
    """An image is passed on as it came, or rules the member out."""
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, image]}]}
    with pytest.raises(CannotHonour):
        plan_of(body, member_of(vision=False))
    assert sent(plan_of(body, member_of(vision=True)).call(1))["messages"] == body["messages"]


@pytest.mark.parametrize(("provider", "role"), [("openai", "developer"), ("groq", "system")])
def test_the_developer_role_is_system_where_it_is_unknown(provider: str, role: str) -> None:
    """Instructions keep their weight wherever they go."""
    messages = [{"role": "developer", "content": "Be brief."}]
    assert sent(plan_of({"messages": messages}, member_of(provider)).call(1))["messages"][0]["role"] == role


@pytest.mark.parametrize(
    ("provider", "form"), [("mistral", r"[0-9A-Za-z]{9}"), ("groq", r"[0-9A-Za-z_-]{1,64}")]
)
@pytest.mark.parametrize("given", ["call_1", "a b/ç", "x" * 200])
def test_tool_ids_take_the_providers_form_and_stay_together(provider: str, form: str, given: str) -> None:
    """The same id always becomes the same id, so that a result finds its call."""
    call = {"id": given, "type": "function", "function": {"name": "weather", "arguments": ""}}
    messages = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": given, "content": "rain"},
    ]
    plan = plan_of({"messages": messages, "tools": [TOOL]}, member_of(provider))
    _, assistant, tool = sent(plan.call(1))["messages"]
    assert assistant["tool_calls"][0]["id"] == tool["tool_call_id"]
    assert re.fullmatch(form, tool["tool_call_id"])
    assert assistant["tool_calls"][0]["function"] == {"name": "weather", "arguments": "{}"}
    assert sent(plan.call(2))["messages"] == sent(plan.call(1))["messages"]


def test_a_stream_asks_for_usage_where_it_can() -> None:
    """Whether the caller wants usage or not, we do."""
    asked = sent(plan_of({"stream": True}).call(1))
    assert (asked["stream"], asked["stream_options"]) == (True, {"include_usage": True})
    assert "stream_options" not in sent(
        plan_of({"stream": True}, takes=AsItIs(EVERYTHING - {"stream_options"})).call(1)
    )
    assert "stream" not in sent(plan_of({"stream": False}).call(1))


def test_what_a_map_puts_aside_is_taken_apart() -> None:
    """Extra fields of a map belong to the body itself; its notes to LiteLLM's own path do not."""
    adds = {"extra_body": {"random_seed": 7}, "json_mode": False, "fake_stream": False}
    body = sent(plan_of({"temperature": 1}, takes=AsItIs(adds=adds)).call(1))
    assert body["random_seed"] == 7
    assert not {"extra_body", "json_mode", "fake_stream"} & set(body)


def test_json_by_way_of_a_tool_is_content() -> None:
    """Where a map asks for JSON through a tool, the caller reads its arguments as the answer."""
    plan = plan_of({"response_format": FULL["response_format"]}, takes=AsItIs(adds={"json_mode": True}))
    call = {"id": "1", "type": "function", "function": {"name": "json_tool_call", "arguments": '{"a": 1}'}}
    found = plan.answer(answer({"content": None, "tool_calls": [call]}, "tool_calls"))
    assert (found.content, found.tool_calls, found.finish_reason) == ('{"a": 1}', (), "stop")


def answer(message: object, finish_reason: object = "stop", **more: Any) -> bytes:
    """A plain answer's body."""
    choice = {"index": 0, "message": message, "finish_reason": finish_reason, **more.pop("choice", {})}
    return json.dumps({"id": "x", "choices": [choice], **more}).encode()


def test_of_an_answer_only_what_is_named_is_kept() -> None:
    """Ids, fingerprints, citations and whatever else an upstream adds are gone."""
    message = {"role": "assistant", "content": "Hi", "reasoning": "Hm", "audio": {}, "annotations": [1]}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "queue_time": 0.1}
    body = answer(
        message, usage=usage, system_fingerprint="fp", x_groq={"id": "req"}, choice={"logprobs": {}}
    )
    assert plan_of({}).answer(body) == Answer(
        content="Hi", finish_reason="stop", reasoning="Hm", claim=Claim(input=3, output=2)
    )


FINISH = {
    "stop": "stop",
    "eos": "stop",
    "STOP": "stop",
    "length": "length",
    "model_length": "length",
    "MAX_TOKENS": "length",
    "content_filter": "content_filter",
    "function_call": "stop",
    "something new": "stop",
}


@pytest.mark.parametrize("said", FINISH)
def test_finish_reasons_are_openais(said: str) -> None:
    """Every provider's word for it becomes one of four; an answer without calls does not end with calls."""
    assert plan_of({}).answer(answer({"content": "x"}, said)).finish_reason == FINISH[said]


BROKEN: dict[str, bytes] = {
    "nothing": b"",
    "HTML": b"<html>",
    "an array": b"[]",
    "half": b'{"choices": [',
    "an error": b'{"error": {"message": "x"}}',
    "no choices": b'{"choices": []}',
    "choices of nothing": b'{"choices": [null]}',
    "no message": b'{"choices": [{"finish_reason": "stop"}]}',
    "no finish reason": answer({"content": "x"}, None),
    "an error as finish reason": answer({"content": "x"}, "error"),
    "a number as finish reason": answer({"content": "x"}, 7),
    "a call without a name": answer({"tool_calls": [{"function": {"arguments": "{}"}}]}, "tool_calls"),
    "a call that is none": answer({"tool_calls": [7]}, "tool_calls"),
    "a deep nest": b'{"choices": ' + b"[" * 2000 + b"]" * 2000 + b"}",
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_no_answer_is_broken(what: str) -> None:
    """Nothing is made up for what an upstream did not say."""
    with pytest.raises(BrokenAnswer):
        plan_of({}).answer(BROKEN[what])


class Forgetful(AsItIs):
    """A map that drops everything."""

    def translate(self, model: str, parameters: Mapping[str, object]) -> dict[str, object]:
        """Nothing is left."""
        return {}


def test_an_output_limit_is_sent_though_the_map_drops_it() -> None:
    """What a hold pays for bounds every request, whatever LiteLLM knows of the provider."""
    assert sent(plan_of({}, takes=Forgetful()).call(77))["max_tokens"] == 77


def test_a_lone_surrogate_does_not_lose_the_answer() -> None:
    """Half a character becomes the replacement character."""
    body = answer({"content": "a?b"}).replace(b"a?b", b"a\\ud83db")
    assert plan_of({}).answer(body).content == "a\ufffdb"


def events(*found: object) -> list[Delta | None]:
    """What a decoder says to these events."""
    decoder = plan_of({}).decoder()
    return [decoder.event(e if isinstance(e, bytes) else json.dumps(e).encode()) for e in found]


def piece(delta: object, finish_reason: object = None, **more: Any) -> dict[str, Any]:
    """An event of a stream."""
    return {"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}], **more}


USAGE = {"prompt_tokens": 3, "completion_tokens": 2}


@pytest.mark.parametrize(
    ("event", "delta"),
    [
        (piece({"content": "Hi"}, usage=USAGE), Delta("Hi", claim=Claim(3, 2))),
        (piece({"content": "Hi"}, x_groq={"usage": USAGE}), Delta("Hi", claim=Claim(3, 2))),
        (piece({"content": "Hi"}, "length"), Delta("Hi", finish_reason="length")),
        (piece({"content": "Hi", "refusal": "no"}), Delta("Hi", refusal="no")),
        (piece({"content": "Hi", "reasoning": "hm"}), Delta("Hi", reasoning="hm")),
        (piece({"content": [{"type": "text", "text": "Hi"}]}), Delta("Hi")),
        (piece({"content": 7}), Delta()),
    ],
)
def test_what_stands_beside_text_is_read_too(event: dict[str, Any], delta: Delta) -> None:
    """Most events have text and nothing else; that no other is taken for one."""
    assert events(event) == [delta]


def test_a_stream_is_read_piece_by_piece() -> None:
    """Text, reasoning, the end and usage, wherever a provider puts it."""
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    decoder = plan_of({}).decoder()
    said = [piece({"role": "assistant", "content": ""}), piece({"content": "Hi"}), piece({}, "stop")]
    deltas = [decoder.event(json.dumps(e).encode()) for e in (*said, {"choices": [], "usage": usage})]
    assert deltas == [Delta(), Delta(content="Hi"), Delta(finish_reason="stop"), Delta(claim=Claim(3, 2))]
    assert not decoder.ended
    assert decoder.event(b"[DONE]") is None
    assert decoder.ended
    assert events(piece({}, "stop", x_groq={"usage": usage}))[0] == Delta(
        finish_reason="stop", claim=Claim(3, 2)
    )


def test_tool_calls_are_put_together_by_index() -> None:
    """The first piece of a call names it, the others go on with its arguments; `stop` ends it too."""
    first = {"index": 0, "id": "a", "function": {"name": "weather", "arguments": ""}}
    more = {"index": 0, "function": {"arguments": "{}"}}
    found = events(piece({"tool_calls": [first]}), piece({"tool_calls": [more]}), piece({}, "stop"))
    assert [d.tool_calls if d else None for d in found] == [
        (ToolCallPart(0, "weather", ""),),
        (ToolCallPart(0, None, "{}", opens=False),),
        (),
    ]
    assert found[-1] == Delta(finish_reason="tool_calls")


@pytest.mark.parametrize(
    "event",
    [
        b"not json",
        b"[1]",
        {"error": {"message": "overloaded"}},
        piece({}, "error"),
        piece({"tool_calls": [{"index": 999_999, "function": {"name": "x"}}]}),
        piece({"tool_calls": [{"index": True, "function": {"name": "x"}}]}),
        piece({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
    ],
)
def test_a_broken_event_breaks_the_stream(event: object) -> None:
    """What cannot be read is not passed over."""
    with pytest.raises(BrokenAnswer):
        events(event)


@pytest.mark.parametrize("reason", ["error", "ERROR", "abort", "cancelled"])
def test_an_aborted_answer_is_no_finished_one(reason: str) -> None:
    """A reason that says the answer broke off is never shown as a clean end."""
    with pytest.raises(BrokenAnswer):
        events(piece({}, reason))
    with pytest.raises(BrokenAnswer):
        plan_of({}).answer(answer({"content": "half"}, finish_reason=reason))


def test_an_empty_usage_does_not_replace_a_good_one() -> None:
    """A later chunk that says nothing of usage claims nothing."""
    assert events(piece({"content": "x"}, usage={}))[0] == Delta(content="x")


def test_streamed_arguments_may_be_an_object() -> None:
    """They become the JSON text that callers expect, as in a plain answer."""
    call = {"index": 0, "function": {"name": "f", "arguments": {"city": "Paris"}}}
    assert events(piece({"tool_calls": [call]}))[0] == Delta(
        tool_calls=(ToolCallPart(0, "f", '{"city":"Paris"}'),)
    )


@pytest.mark.parametrize("content", [[{"type": "text"}], [{"type": "text", "text": 7}], [7], {}])
def test_a_malformed_text_part_is_no_text(content: object) -> None:
    """It neither reaches the caller nor breaks the gateway."""
    assert plan_of({}).answer(answer({"content": content})).content == ""


def test_arguments_nested_beyond_json_break_the_answer() -> None:
    """An object that cannot be written is the upstream's failure, not ours."""
    nested: dict[str, Any] = {}
    for _ in range(400):
        nested = {"a": nested}
    call = {"id": "a", "function": {"name": "f", "arguments": nested}}
    with pytest.raises(BrokenAnswer):
        plan_of({}).answer(answer({"tool_calls": [call]}, finish_reason="tool_calls"))


def test_a_context_error_in_a_stream_is_the_callers() -> None:
    """Some upstreams say so only after 200."""
    with pytest.raises(ErrorEvent) as raised:
        events({"error": {"code": "context_length_exceeded", "message": "too long"}})

    told = from_event(raised.value, model="llama-70b", window=128_000).shown()
    assert (told.code, "'llama-70b' (context window 128000 tokens)" in told.message) == (
        "context_length_exceeded",
        True,
    )


def test_any_other_error_in_a_stream_is_the_upstreams() -> None:
    """None of its text is passed on."""
    with pytest.raises(ErrorEvent) as raised:
        events({"error": {"message": "shard 7 of acme fell over"}})

    assert from_event(raised.value, model="m", window=1).shown().code == "upstream_error"


def vectors(body: object, items: int) -> list[list[float]]:
    """The vectors of an answer."""
    return OpenAiCodec({}).vectors(json.dumps(body).encode(), items)[0]


def test_vectors_come_in_the_order_of_the_input() -> None:
    """Whatever order an upstream sends them in."""
    data = [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]
    assert vectors({"data": data}, 2) == [[1.0], [2.0]]


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        [{"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 2, "embedding": [1.0]}],
        [{"index": -1, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": []}, {"index": 1, "embedding": [1.0]}],
        [{"index": 0, "embedding": ["1"]}, {"index": 1, "embedding": [1.0]}],
        [{"index": 0, "embedding": [True]}, {"index": 1, "embedding": [1.0]}],
        [{"index": 0, "embedding": "AAAA"}, {"index": 1, "embedding": [1.0]}],
        [7, 8],
    ],
)
def test_what_are_no_vectors_is_broken(data: object) -> None:
    """One vector of numbers for each input, no more and no fewer."""
    with pytest.raises(BrokenAnswer):
        vectors({"data": data}, 2)


def test_dimensions_are_for_models_that_can() -> None:
    """Elsewhere the member is ruled out."""
    request = parse_embeddings({"model": "x", "input": "a", "dimensions": 8}, str)
    with pytest.raises(CannotHonour, match="dimensions"):
        OpenAiCodec({}).embeddings_call(request, member_of())
    call = OpenAiCodec({}).embeddings_call(request, member_of(dimensions_selectable=True))
    assert sent(call) == {"model": "their-model", "input": ["a"], "dimensions": 8}

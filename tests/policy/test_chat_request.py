"""The chat body: what is kept, what is refused, and that nothing else gets through."""

import json
from dataclasses import fields

import pytest

from llmdeal_litellm.errors import InvalidRequest, UnsupportedParameter
from llmdeal_litellm.policy.chat_request import REFUSED_NAMES, ChatRequest, parse_chat
from llmdeal_litellm.policy.messages import Message
from llmdeal_litellm.policy.strict_json import JsonObject, parse_object

HELLO: JsonObject = {"model": "smart-route", "messages": [{"role": "user", "content": "Hello!"}]}
PLAIN = ChatRequest("smart-route", (Message("user", "Hello!"),), tuning={})


def parsed(text: str) -> ChatRequest:
    """A body of HELLO with more members, written as JSON text."""
    body = json.dumps(HELLO)[:-1] + (f", {text}" if text else "") + "}"
    return parse_chat(parse_object(body.encode()))


def test_smallest_body() -> None:
    """A model and messages are enough, and leave every field at its default."""
    assert parse_chat(HELLO) == PLAIN


@pytest.mark.parametrize("name", REFUSED_NAMES)
@pytest.mark.parametrize("value", ["x", 0, False, [], {}, ""])
def test_names_that_would_steer_the_upstream(name: str, value: object) -> None:
    """Each of the ten names is refused by name, whatever its value."""
    with pytest.raises(UnsupportedParameter) as refused:
        parsed(f'"{name}": {json.dumps(value)}')

    assert refused.value.message == f"'{name}' is not supported here. Remove it from the request body."
    assert refused.value.code == "unsupported_parameter"


def test_the_ten_names() -> None:
    """The list is exactly this."""
    assert set(REFUSED_NAMES) == {
        "api_key",
        "api_base",
        "base_url",
        "extra_headers",
        "extra_body",
        "fallbacks",
        "mock_response",
        "num_retries",
        "custom_llm_provider",
        "model_list",
    }


@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_null_is_absent_even_there(name: str) -> None:
    """A refused name with null is as if it were not there."""
    assert parsed(f'"{name}": null') == PLAIN


def test_unsupported_comes_before_a_wrong_shape() -> None:
    """A body that is wrong in two ways hears of the name first."""
    with pytest.raises(UnsupportedParameter):
        parse_chat({"extra_body": {}, "messages": 5})


@pytest.mark.parametrize(
    "name",
    """user metadata store service_tier prompt_cache_key safety_identifier verbosity modalities audio
    prediction web_search_options functions function_call api_version timeout headers litellm_params
    litellm_metadata guardrails tags cache ttl proxy_server_request secret_fields user_api_key_dict
    allowed_openai_params drop_params max_retries organization deployment_id region_name
    aws_access_key_id vertex_credentials input_cost_per_token mock_tool_calls mock_timeout
    disable_fallbacks include rules prompt_id provider max_output_tokens best_of logit_processors top_k
    min_p extra_query __proto__""".split(),
)
def test_unknown_names_are_dropped(name: str) -> None:
    """Every other name is accepted, whatever its value, and leaves no trace."""
    for value in ('{"api_key": "x"}', "[1]", '"text"', "7", "true", "null"):
        assert parsed(f'"{name}": {value}') == PLAIN


@pytest.mark.parametrize(
    "name", [f.name for f in fields(ChatRequest)] + ["n", "stream_options", "max_tokens"]
)
def test_null_is_absent(name: str) -> None:
    """null is the same as leaving a field out; the two required ones are then missing."""
    body = {name: None} | HELLO if name in ("model", "messages") else HELLO | {name: None}
    assert parse_chat(body) == PLAIN


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("", None),
        ('"max_tokens": 9', 9),
        ('"max_completion_tokens": 9', 9),
        ('"max_tokens": 9, "max_completion_tokens": 1000', 9),
        ('"max_tokens": 1000, "max_completion_tokens": 9', 9),
        ('"max_completion_tokens": 9, "max_tokens": 1000', 9),
        ('"max_completion_tokens": 1000, "max_tokens": 9', 9),
        ('"max_tokens": null', None),
        ('"max_tokens": null, "max_completion_tokens": 5', 5),
        ('"max_tokens": 1', 1),
        ('"max_tokens": 9007199254740992', 2**53),
    ],
)
def test_output_limit(text: str, limit: int | None) -> None:
    """The smaller of the two limits counts, in whichever order they stand."""
    assert parsed(text).output_limit == limit


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(
    "value",
    [
        "0",
        "-1",
        "-1e5",
        "true",
        "false",
        '"9"',
        "1.5",
        "1.0",
        "1e2",
        "1e999",
        "NaN",
        "[9]",
        "{}",
        '""',
        "9" * 40,
    ],
)
@pytest.mark.parametrize("other", ["", '"max_tokens": 9, ', '"max_completion_tokens": 9, '])
def test_limits_that_are_none(name: str, value: str, other: str) -> None:
    """A limit is a JSON integer from 1, or the request is refused, whatever the other limit says."""
    if name in other.split('"'):
        other = ""
    with pytest.raises(InvalidRequest):
        parsed(f'{other}"{name}": {value}')


@pytest.mark.parametrize("value", ["128", "2", "0", "-1", "1.0", "true", '"1"', "[1]", "1e0"])
def test_more_answers_than_one(value: str) -> None:
    """`n` is 1 or absent: one request, one answer, one price."""
    with pytest.raises(InvalidRequest) as refused:
        parsed(f'"n": {value}')

    assert "'n'" in refused.value.message


def test_n_of_one() -> None:
    """Saying 1 is saying nothing."""
    assert parsed('"n": 1') == PLAIN


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('"stream": true', {"stream": True}),
        ('"stream": false', {}),
        (
            '"stream": true, "stream_options": {"include_usage": true}',
            {"stream": True, "include_usage": True},
        ),
        ('"stream": true, "stream_options": {"include_usage": false}', {"stream": True}),
        ('"stream": true, "stream_options": {"include_usage": null, "x": 1}', {"stream": True}),
        ('"stream": true, "stream_options": {}', {"stream": True}),
        ('"stream_options": {"include_usage": true}', {}),
        ('"parallel_tool_calls": false', {"parallel_tool_calls": False}),
        ('"logprobs": true', {"logprobs": True}),
        ('"logprobs": true, "top_logprobs": 20', {"logprobs": True, "top_logprobs": 20}),
        ('"logprobs": true, "top_logprobs": 0', {"logprobs": True, "top_logprobs": 0}),
        ('"stop": "END"', {"stop": ("END",)}),
        ('"stop": ["a", "b"]', {"stop": ("a", "b")}),
        ('"stop": []', {}),
    ],
)
def test_kept(text: str, kept: dict[str, object]) -> None:
    """Fields with a meaning of their own are kept as values."""
    found = parsed(text)

    assert {f.name: getattr(found, f.name) for f in fields(found)} == {
        f.name: kept.get(f.name, getattr(PLAIN, f.name)) for f in fields(PLAIN)
    }


@pytest.mark.parametrize(
    ("text", "tuning"),
    [
        ('"temperature": 0.2', {"temperature": 0.2}),
        ('"temperature": 0', {"temperature": 0}),
        ('"top_p": 1', {"top_p": 1}),
        (
            '"presence_penalty": -2, "frequency_penalty": 0.5',
            {"presence_penalty": -2, "frequency_penalty": 0.5},
        ),
        ('"seed": -7', {"seed": -7}),
        ('"reasoning_effort": "high"', {"reasoning_effort": "high"}),
        ('"logit_bias": {"50256": -100, "x": 0.5}', {"logit_bias": {"50256": -100, "x": 0.5}}),
        ('"logit_bias": {}', {"logit_bias": {}}),
    ],
)
def test_tuning(text: str, tuning: dict[str, object]) -> None:
    """Fields that only tune are kept apart, under their own names."""
    assert parsed(text).tuning == tuning


BAD = [
    ("model", "null", "5", '""', "[]", '["smart-route"]', "{}", "true"),
    ("stream", '"true"', "1", "0", "[]"),
    ("stream_options", "true", '"x"', "[]", '{"include_usage": 1}', '{"include_usage": "true"}'),
    ("parallel_tool_calls", "1", '"false"', "{}"),
    ("logprobs", "1", "5", '"true"'),
    ("top_logprobs", "5", "-1", "21", "true", "1.0", '"5"'),
    ("temperature", '"0.2"', "true", "[0.2]", "{}"),
    ("top_p", '"1"', "false"),
    ("presence_penalty", '"1"', "true"),
    ("frequency_penalty", "[]", "true"),
    ("seed", "1.5", '"1"', "true", "[]", "1e999"),
    ("stop", "5", "true", "{}", '""', '["a", ""]', '["a", 5]', "[null]", json.dumps(["x"] * 17)),
    ("logit_bias", "[]", '"x"', '{"1": "x"}', '{"1": true}', '{"1": null}', "5"),
    ("reasoning_effort", '"extreme"', "5", "true", "[]", '{"a": 1}', '"HIGH"'),
    ("messages", "null", '"x"', "{}", "[]", "5", "[5]", "[null]", '["x"]', "[[]]", "[{}]"),
    ("tools", "{}", '"x"', "[5]", "[{}]", "5"),
    ("tool_choice", "5", "true", "[]", '"any"', "{}", '""'),
    (
        "response_format",
        "5",
        '"json_object"',
        "[]",
        "{}",
        '{"type": "xml"}',
        '{"type": 5}',
        '{"type": "json_schema"}',
    ),
]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, *values in BAD for value in values])
def test_wrong_shape(name: str, value: str) -> None:
    """A field of the wrong shape is refused, and the message names it."""
    body = json.dumps({k: v for k, v in HELLO.items() if k != name})[:-1] + f', "{name}": {value}}}'

    with pytest.raises(InvalidRequest) as refused:
        parse_chat(parse_object(body.encode()))

    if value != "1e999":
        assert ("include_usage" if "include_usage" in value else name) in refused.value.message
    assert refused.value.code == "invalid_request"


@pytest.mark.parametrize("missing", ["model", "messages"])
def test_required(missing: str) -> None:
    """Two fields are required."""
    with pytest.raises(InvalidRequest) as refused:
        parse_chat({k: v for k, v in HELLO.items() if k != missing})

    assert refused.value.message.startswith(f"'{missing}' is required")


@pytest.mark.parametrize("text", ["\0", "\x1b[31m", "x" * 500, "\u202e", "{0}%s"])
def test_messages_are_safe_to_show(text: str) -> None:
    """A caller's own text comes back cut and without control characters."""
    with pytest.raises(InvalidRequest) as refused:
        parse_chat(HELLO | {"tools": [{"type": "function", "function": {"name": text}}]})

    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 250

"""What OpenAI refuses."""

from llmdeal_litellm.simulator.models import output_ceiling_tokens
from llmdeal_litellm.simulator.refusals.rules import (
    CALLED,
    OPEN_SCHEMA,
    TOOL,
    USER,
    Refusal,
    absent,
    every,
    given,
    limit_over,
    long_list,
    model,
    no_word_json,
    open_object,
    orphan_tool_result,
    response_format,
    unanswered_call,
    unknown,
    value_of,
)

_REFERENCE = "developers.openai.com/api/reference/resources/chat/subresources/completions/methods/create"
_REASONING = "developers.openai.com/api/docs/guides/reasoning and the model pages"
_LATEST = "developers.openai.com/api/docs/guides/latest-model, parameter compatibility"

TAKEN = frozenset(
    """
        model messages audio frequency_penalty function_call functions logit_bias logprobs
        max_completion_tokens max_tokens metadata modalities n parallel_tool_calls prediction
        presence_penalty prompt_cache_key prompt_cache_retention reasoning_effort response_format
        safety_identifier seed service_tier stop store stream stream_options temperature tool_choice
        tools top_logprobs top_p user verbosity web_search_options
    """.split()
)
TAKEN_EMBEDDINGS = frozenset("model input encoding_format dimensions user".split())
_REASONERS = r"^(gpt-5|o[134])"
_CHATTERS = r"-chat"
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
_awake = value_of("model", lambda _: True)


def _reasoning_is_on(body: dict[str, object]) -> bool:
    return body.get("reasoning_effort") != "none"


_thinks = every(
    model(_REASONERS, but=_CHATTERS), lambda body: _awake(body) if _reasoning_is_on(body) else None
)

ROWS = (
    Refusal(
        name="unknown fields",
        when=unknown(TAKEN),
        message="Unknown parameter: '{field}'.",
        code="unknown_parameter",
        param="{field}",
        source=_REFERENCE,
        examples=({"random_seed": 1}, {"top_k": 5}, {"input_type": "query"}),
    ),
    Refusal(
        name="max_tokens on a reasoning model",
        when=every(given("max_tokens"), model(_REASONERS)),
        message="Unsupported parameter: 'max_tokens' is not supported with this model. Use "
        "'max_completion_tokens' "
        "instead.",
        code="unsupported_parameter",
        param="max_tokens",
        source=f"{_REFERENCE}: not compatible with o-series models; gpt-5 answers the same",
        examples=({"model": "gpt-5.5", "max_tokens": 16}, {"model": "o3", "max_tokens": 16}),
    ),
    Refusal(
        name="stop on a reasoning model",
        when=every(given("stop"), model(_REASONERS, but=_CHATTERS)),
        message="Unsupported parameter: 'stop' is not supported with this model.",
        code="unsupported_parameter",
        param="stop",
        source=f"{_REFERENCE}: not supported with latest reasoning models",
        examples=({"model": "gpt-5.5", "stop": ["x"]},),
    ),
    Refusal(
        name="temperature while reasoning",
        when=every(value_of("temperature", lambda t: t != 1), _thinks),
        message="Unsupported value: 'temperature' does not support {value} with this model. Only the default "
        "(1) value "
        "is supported.",
        code="unsupported_value",
        param="temperature",
        source=f"{_LATEST}: only with reasoning effort none",
        examples=({"model": "gpt-5.5", "temperature": 0.2}, {"model": "gpt-5.5", "temperature": 0}),
    ),
    Refusal(
        name="sampling fields while reasoning",
        when=every(
            given("top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "logit_bias"),
            _thinks,
        ),
        message="Unsupported parameter: '{field}' is not supported with this model.",
        code="unsupported_parameter",
        param="{field}",
        source=f"{_LATEST}; {_REASONING}",
        examples=tuple(
            {"model": "gpt-5.5", **field}
            for field in (
                {"top_p": 0.5},
                {"presence_penalty": 0.5},
                {"frequency_penalty": 0.5},
                {"logprobs": True},
                {"logit_bias": {"1": 1}},
            )
        ),
    ),
    Refusal(
        name="reasoning_effort on a model that does not reason",
        when=every(given("reasoning_effort"), model(r".", but=_REASONERS)),
        message="Unrecognized request argument supplied: reasoning_effort",
        source=_REFERENCE,
        examples=({"model": "gpt-4o", "reasoning_effort": "low"},),
    ),
    Refusal(
        name="reasoning_effort outside the list",
        when=value_of("reasoning_effort", lambda effort: effort not in _EFFORTS),
        message="Unsupported value: '{value}' is not supported with the model. Supported values are: 'none', "
        "'low', "
        "'medium', 'high', and 'xhigh'.",
        code="unsupported_value",
        param="reasoning_effort",
        source=_REFERENCE,
        examples=({"model": "gpt-5.5", "reasoning_effort": "default"},),
    ),
    Refusal(
        name="minimal effort on gpt-5.1 and later",
        when=every(value_of("reasoning_effort", lambda effort: effort == "minimal"), model(r"^gpt-5\.")),
        message="Unsupported value: 'minimal' is not supported with the '{model}' model. Supported values "
        "are: 'none', "
        "'low', 'medium', 'high', and 'xhigh'.",
        code="unsupported_value",
        param="reasoning_effort",
        source=_LATEST,
        examples=({"model": "gpt-5.5", "reasoning_effort": "minimal"},),
        sure=False,
    ),
    Refusal(
        name="function tools while reasoning",
        when=every(given("tools"), model(r"^gpt-5\.([4-9]|\d\d)", but=_CHATTERS), _thinks),
        message="Function tools with reasoning_effort are not supported for {model} in /v1/chat/completions. "
        "Please "
        "use /v1/responses instead.",
        param="reasoning_effort",
        source="github.com/openai/openai-openapi/issues/541; effort `none` is taken, an absent one means "
        "medium",
        examples=(
            {"model": "gpt-5.5", "tools": [TOOL]},
            {"model": "gpt-5.5", "tools": [TOOL], "reasoning_effort": "low"},
        ),
    ),
    Refusal(
        name="output limit above the model's",
        when=limit_over(lambda name: output_ceiling_tokens("openai", name)),
        message="{field} is too large: {value}. This model supports at most {index} completion tokens, "
        "whereas you "
        "provided {value}.",
        code="invalid_value",
        param="{field}",
        source="developers.openai.com/api/docs/models, max output tokens",
        examples=({"model": "gpt-4o", "max_tokens": 16_385},),
    ),
    Refusal(
        name="too many stop strings",
        when=long_list("stop", 4),
        message="Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array "
        "with "
        "length {value} instead.",
        code="array_above_max_length",
        param="stop",
        source=_REFERENCE,
        examples=({"stop": ["a", "b", "c", "d", "e"]},),
    ),
    Refusal(
        name="empty tools",
        when=value_of("tools", lambda tools: tools == []),
        message="Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty "
        "array instead.",
        code="empty_array",
        param="tools",
        source=_REFERENCE,
        examples=({"tools": []},),
    ),
    Refusal(
        name="tool fields without tools",
        when=every(given("tool_choice", "parallel_tool_calls"), absent("tools")),
        message="Invalid value for '{field}': '{field}' is only allowed when 'tools' are specified.",
        param="{field}",
        source=_REFERENCE,
        examples=({"tool_choice": "auto"}, {"parallel_tool_calls": False}),
    ),
    Refusal(
        name="stream_options without stream",
        when=every(given("stream_options"), absent("stream")),
        message="The 'stream_options' parameter is only allowed when 'stream' is enabled.",
        param="stream_options",
        source=_REFERENCE,
        examples=({"stream_options": {"include_usage": True}},),
    ),
    Refusal(
        name="top_logprobs without logprobs",
        when=every(given("top_logprobs"), absent("logprobs")),
        message="The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.",
        param="top_logprobs",
        source=_REFERENCE,
        examples=({"top_logprobs": 2},),
    ),
    Refusal(
        name="json_object without the word json",
        when=every(response_format("json_object"), no_word_json),
        message="'messages' must contain the word 'json' in some form, to use 'response_format' of type "
        "'json_object'.",
        param="messages",
        source="developers.openai.com/api/docs/guides/structured-outputs, JSON mode",
        examples=({"response_format": {"type": "json_object"}},),
    ),
    Refusal(
        name="strict schema with an open object",
        when=open_object,
        message="Invalid schema for response_format '{where}': In context=(), 'additionalProperties' is "
        "required to be "
        "supplied and to be false.",
        param="response_format",
        source="developers.openai.com/api/docs/guides/structured-outputs, supported schemas",
        examples=({"response_format": OPEN_SCHEMA},),
    ),
    Refusal(
        name="tool result without its call",
        when=orphan_tool_result,
        message="Invalid parameter: messages with role 'tool' must be a response to a preceeding message "
        "with "
        "'tool_calls'.",
        param="{where}",
        source="developers.openai.com/api/docs/guides/function-calling",
        examples=({"messages": [USER, {"role": "tool", "tool_call_id": "call_1", "content": "22"}]},),
    ),
    Refusal(
        name="call without its result",
        when=unanswered_call,
        message="An assistant message with 'tool_calls' must be followed by tool messages responding to each "
        "'tool_call_id'. The following tool_call_ids did not have response messages: {value}",
        param="messages",
        source="developers.openai.com/api/docs/guides/function-calling",
        examples=({"messages": [USER, CALLED, USER]},),
    ),
    Refusal(
        name="embeddings: unknown fields",
        endpoint="embeddings",
        when=unknown(TAKEN_EMBEDDINGS),
        message="Unrecognized request argument supplied: {field}",
        source="developers.openai.com/api/reference/resources/embeddings/methods/create",
        examples=({"input_type": "query"}, {"truncate": "END"}, {"output_dimension": 256}),
    ),
    Refusal(
        name="embeddings: dimensions on ada-002",
        endpoint="embeddings",
        when=every(given("dimensions"), model("ada-002")),
        message="This model does not support specifying dimensions.",
        source="developers.openai.com/api/reference/resources/embeddings/methods/create",
        examples=({"model": "text-embedding-ada-002", "dimensions": 256},),
    ),
    Refusal(
        name="embeddings: too many items",
        endpoint="embeddings",
        when=long_list("input", 2_048),
        message="Invalid 'input': array too long. Expected an array with maximum length 2048, but got an "
        "array with "
        "length {value} instead.",
        code="array_above_max_length",
        param="input",
        source="developers.openai.com/api/reference/resources/embeddings/methods/create",
        examples=({"input": ["a"] * 2_049},),
    ),
    Refusal(
        name="embeddings: empty text",
        endpoint="embeddings",
        when=value_of("input", lambda i: i in ("", []) or (isinstance(i, list) and "" in i)),
        message="'$.input' is invalid. Please check the API reference: "
        "https://platform.openai.com/docs/api-reference.",
        source="developers.openai.com/api/reference/resources/embeddings/methods/create: cannot be an empty "
        "string",
        examples=({"input": ""}, {"input": ["a", ""]}),
    ),
)

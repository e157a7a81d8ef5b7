"""What Groq refuses. Texts follow what its API answers; see each row's source."""

from llmdeal_litellm.simulator.models import output_ceiling_tokens
from llmdeal_litellm.simulator.refusals.rules import (
    CALLED,
    PICTURE,
    SCHEMA,
    TOOL,
    USER,
    Refusal,
    absent,
    every,
    given,
    image,
    in_messages,
    limit_over,
    long_list,
    message_has,
    model,
    no_word_json,
    response_format,
    role_is,
    unknown,
    value_of,
)

_REFERENCE = "console.groq.com/docs/api-reference#chat-create"
_COMPATIBILITY = "console.groq.com/docs/openai, Currently Unsupported OpenAI Features"
_STRUCTURED = "console.groq.com/docs/structured-outputs"
_REASONING = "console.groq.com/docs/reasoning"

TAKEN = frozenset(
    """
        model messages citation_options compound_custom disable_tool_validation documents
        exclude_domains frequency_penalty function_call functions include_domains include_reasoning
        logit_bias logprobs max_completion_tokens max_tokens metadata n parallel_tool_calls
        presence_penalty reasoning_effort reasoning_format response_format search_settings seed
        service_tier stop store stream stream_options temperature tool_choice tools top_logprobs
        top_p user
    """.split()
)
_SCHEMA_MODELS = r"gpt-oss|kimi|llama-4"
_GPT_OSS = "openai/gpt-oss-120b"
_JSON_MESSAGE = {"role": "user", "content": "Answer in JSON"}

ROWS = (
    Refusal(
        name="unsupported OpenAI fields",
        when=given("logprobs", "logit_bias", "top_logprobs"),
        message="property '{field}' is unsupported",
        source=_COMPATIBILITY,
        examples=({"logprobs": True}, {"logit_bias": {"1": 1}}, {"top_logprobs": 2}, {"logprobs": False}),
    ),
    Refusal(
        name="n other than 1",
        when=value_of("n", lambda n: n != 1),
        message="'n' : number must be at most 1",
        source=_COMPATIBILITY,
        examples=({"n": 2},),
    ),
    Refusal(
        name="a message's name",
        when=in_messages(message_has("name")),
        message="'{where}' : for 'role:{role}' the following must be satisfied[('{where}' : property 'name' "
        "is "
        "unsupported)]",
        source=_COMPATIBILITY,
        examples=({"messages": [{**USER, "name": "ann"}]},),
    ),
    Refusal(
        name="a message's unknown field",
        when=in_messages(
            message_has("reasoning_content", "refusal", "annotations", "audio", "cache_control")
        ),
        message="'{where}' : for 'role:{role}' the following must be satisfied[('{where}' : property "
        "'{field}' is "
        "unsupported)]",
        source="github.com/janhq/jan/issues/8136 (reasoning_content); the others by the same rule",
        examples=(
            {"messages": [USER, {"role": "assistant", "content": "Hi", "reasoning_content": "x"}, USER]},
            {"messages": [USER, {"role": "assistant", "content": "Hi", "refusal": None}, USER]},
        ),
        sure=False,
    ),
    Refusal(
        name="unknown fields",
        when=unknown(TAKEN),
        message="property '{field}' is unsupported",
        source=_REFERENCE,
        examples=(
            {"modalities": ["text"]},
            {"prompt_cache_key": "k"},
            {"web_search_options": {}},
            {"verbosity": "low"},
            {"random_seed": 1},
            {"reasoning": {}},
        ),
    ),
    Refusal(
        name="developer role",
        when=in_messages(role_is("developer")),
        message="'{where}' : discriminator property 'role' has invalid value",
        source=f"{_REFERENCE}: system, user, assistant, tool, function are listed",
        examples=({"messages": [{"role": "developer", "content": "Be brief"}, USER]},),
        sure=False,
    ),
    Refusal(
        name="too many stop strings",
        when=long_list("stop", 4),
        message="'stop' : one of the following must be satisfied[('stop' : value must be a string) OR "
        "('stop' : "
        "maximum number of items is 4)]",
        source=_REFERENCE,
        examples=({"stop": ["a", "b", "c", "d", "e"]},),
    ),
    Refusal(
        name="output limit above the model's",
        when=limit_over(lambda name: output_ceiling_tokens("groq", name)),
        message="`{field}` must be less than or equal to `{index}`, the maximum value for `{field}` is less "
        "than "
        "the `context_window` for this model",
        source="console.groq.com/docs/models",
        examples=({"model": "llama-3.3-70b-versatile", "max_completion_tokens": 32_769},),
        param="{field}",
    ),
    Refusal(
        name="reasoning_effort on a model that does not reason",
        when=every(given("reasoning_effort"), model(r".", but=r"gpt-oss|qwen3|deepseek-r1")),
        message="`reasoning_effort` is not supported with this model",
        source=_REASONING,
        examples=({"model": "llama-3.3-70b-versatile", "reasoning_effort": "low"},),
        param="reasoning_effort",
    ),
    Refusal(
        name="reasoning_effort of another family",
        when=every(value_of("reasoning_effort", lambda e: e not in ("none", "default")), model("qwen3")),
        message="`reasoning_effort` must be one of `none` or `default`",
        source=_REASONING,
        examples=({"model": "qwen/qwen3-32b", "reasoning_effort": "low"},),
        param="reasoning_effort",
    ),
    Refusal(
        name="reasoning_effort outside the list",
        when=every(
            value_of("reasoning_effort", lambda e: e not in ("low", "medium", "high")), model("gpt-oss")
        ),
        message="`reasoning_effort` must be one of `low`, `medium`, or `high`",
        source=_REASONING,
        examples=(
            {"model": _GPT_OSS, "reasoning_effort": "minimal"},
            {"model": _GPT_OSS, "reasoning_effort": "none"},
        ),
        param="reasoning_effort",
    ),
    Refusal(
        name="json_schema on a model without it",
        when=every(response_format("json_schema"), model(r".", but=_SCHEMA_MODELS)),
        message="This model does not support response format `json_schema`. See supported models at "
        "https://console.groq.com/docs/structured-outputs#supported-models",
        source=f"{_STRUCTURED}#supported-models",
        examples=({"model": "llama-3.3-70b-versatile", "response_format": SCHEMA},),
        param="response_format",
    ),
    Refusal(
        name="json_schema with streaming",
        when=every(response_format("json_schema"), value_of("stream", bool)),
        message="Streaming is not supported with response format `json_schema`",
        source=f"{_STRUCTURED}: streaming and tool use are not currently supported with Structured Outputs",
        examples=({"model": _GPT_OSS, "response_format": SCHEMA, "stream": True},),
        param="response_format",
    ),
    Refusal(
        name="JSON output with tools",
        when=every(response_format("json_schema", "json_object"), given("tools")),
        message="json mode cannot be combined with tool/function calling",
        source=f"{_STRUCTURED}: streaming and tool use are not currently supported with Structured Outputs",
        examples=(
            {"model": _GPT_OSS, "response_format": SCHEMA, "tools": [TOOL]},
            {"response_format": {"type": "json_object"}, "tools": [TOOL], "messages": [_JSON_MESSAGE]},
        ),
        param="response_format",
    ),
    Refusal(
        name="json_object with streaming",
        when=every(response_format("json_object"), value_of("stream", bool)),
        message="response_format` does not support streaming",
        source=f"{_STRUCTURED}#json-object-mode; older text: JSON mode does not support streaming",
        examples=({"response_format": {"type": "json_object"}, "stream": True, "messages": [_JSON_MESSAGE]},),
        param="response_format",
        sure=False,
    ),
    Refusal(
        name="json_object without the word json",
        when=every(response_format("json_object"), no_word_json),
        message="'messages' must contain the word 'json' in some form, to use 'response_format' of type "
        "'json_object'.",
        source=f"{_STRUCTURED}#json-object-mode",
        examples=({"response_format": {"type": "json_object"}},),
    ),
    Refusal(
        name="images on a text model",
        when=every(in_messages(image(), join="messages[{}]"), model(r".", but=r"llama-4|vision|-vl")),
        message="{where}.content must be a string",
        source="console.groq.com/docs/vision, supported models",
        examples=({"model": "llama-3.3-70b-versatile", "messages": [PICTURE]},),
    ),
    Refusal(
        name="stream_options without stream",
        when=every(given("stream_options"), absent("stream")),
        message="'stream_options' : can only be set when 'stream' is true",
        source=_REFERENCE,
        examples=({"stream_options": {"include_usage": True}},),
        sure=False,
    ),
    Refusal(
        name="tool_choice without tools",
        when=every(value_of("tool_choice", lambda choice: choice != "none"), absent("tools")),
        message="Tool choice requires tools to be provided",
        source=f"{_REFERENCE}: auto is the default if tools are present",
        examples=({"tool_choice": "required"},),
        param="tool_choice",
        sure=False,
    ),
    Refusal(
        name="tool calls without tool_calls' answer role",
        when=in_messages(
            lambda m: (
                ("tool_call_id", None) if m.get("role") == "tool" and not m.get("tool_call_id") else None
            )
        ),
        message="'{where}' : for 'role:tool' the following must be satisfied[('{where}.tool_call_id' : "
        "property is "
        "missing)]",
        source=_REFERENCE,
        examples=({"messages": [USER, CALLED, {"role": "tool", "content": "22"}]},),
    ),
)

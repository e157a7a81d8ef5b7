"""What Cerebras refuses."""

from llmdeal_litellm.simulator.models import reasons
from llmdeal_litellm.simulator.refusals.rules import (
    OPEN_SCHEMA,
    PICTURE,
    SCHEMA,
    TOOL,
    USER,
    Hit,
    Json,
    Refusal,
    every,
    given,
    image,
    in_messages,
    long_list,
    message_has,
    model,
    open_object,
    response_format,
    role_is,
    unknown,
    value_of,
)

_REFERENCE = "inference-docs.cerebras.ai/api-reference/chat-completions"
_COMPATIBILITY = "inference-docs.cerebras.ai/resources/openai, Currently Unsupported OpenAI Features"
_STRUCTURED = "inference-docs.cerebras.ai/capabilities/structured-outputs"

TAKEN = frozenset(
    """
        model messages clear_thinking disable_reasoning logprobs max_completion_tokens max_tokens
        min_tokens n prediction reasoning_effort reasoning_format response_format seed stop stream
        stream_options temperature tool_choice tools top_logprobs top_p user frequency_penalty
        presence_penalty logit_bias parallel_tool_calls service_tier
    """.split()
)


def _reasoning_model(body: Json) -> Hit | None:
    return Hit(field="model") if reasons(str(body.get("model", ""))) else None


ROWS = (
    Refusal(
        name="unsupported OpenAI fields",
        when=given("frequency_penalty", "logit_bias", "presence_penalty", "service_tier"),
        message="body.{field}: property 'body.{field}' is unsupported",
        source=_COMPATIBILITY,
        examples=(
            {"frequency_penalty": 0.5},
            {"presence_penalty": 0.5},
            {"logit_bias": {"1": 1}},
            {"service_tier": "auto"},
            {"frequency_penalty": 0},
        ),
        param="validation_error",
        code="wrong_api_format",
    ),
    Refusal(
        name="parallel_tool_calls",
        when=given("parallel_tool_calls"),
        message="body.{field}: property 'body.{field}' is unsupported",
        source=f"{_COMPATIBILITY}; {_REFERENCE} lists it as taken",
        examples=({"tools": [TOOL], "parallel_tool_calls": False},),
        param="validation_error",
        code="wrong_api_format",
        sure=False,
    ),
    Refusal(
        name="unknown fields",
        when=unknown(TAKEN),
        status=422,
        message="body.{field}: property 'body.{field}' is unsupported",
        source="github.com/Gitlawb/openclaude/issues/740 (store), github.com/anomalyco/opencode/issues/6648",
        examples=({"store": False}, {"metadata": {}}, {"thinking": {}}, {"random_seed": 1}),
        param="validation_error",
        code="wrong_api_format",
    ),
    Refusal(
        name="n other than 1",
        when=value_of("n", lambda n: n != 1),
        message="body.n: Input should be 1",
        source=_REFERENCE,
        examples=({"n": 2},),
        param="validation_error",
        code="wrong_api_format",
        sure=False,
    ),
    Refusal(
        name="developer role",
        when=in_messages(role_is("developer")),
        message="{where}.role: Input should be 'system', 'user', 'assistant' or 'tool'",
        source="inference-docs.cerebras.ai/resources/openai: the developer role is not exposed",
        examples=({"messages": [{"role": "developer", "content": "Be brief"}, USER]},),
        param="validation_error",
        code="wrong_api_format",
    ),
    Refusal(
        name="a message's unknown field",
        when=in_messages(
            message_has("reasoning_content", "refusal", "annotations", "audio", "cache_control")
        ),
        message="{where}.{role}.{field}: property '{where}.{role}.{field}' is unsupported",
        source="github.com/QwenLM/qwen-code/issues/11045 (reasoning_content); the others by the same rule",
        examples=(
            {"messages": [USER, {"role": "assistant", "content": "Hi", "reasoning_content": "x"}, USER]},
        ),
        param="validation_error",
        code="wrong_api_format",
    ),
    Refusal(
        name="reasoning_effort on a model that does not reason",
        when=every(given("reasoning_effort"), model(r".", but=r"gpt-oss|glm|qwen-3\.8|thinking")),
        message="reasoning_effort is not supported for this model",
        source="inference-docs.cerebras.ai/capabilities/reasoning; "
        "github.com/egoist/chatwise-releases/issues/1325",
        examples=({"model": "qwen-3-235b-a22b-instruct-2507", "reasoning_effort": "low"},),
        param="reasoning_effort",
        code="wrong_api_format",
        sure=False,
    ),
    Refusal(
        name="reasoning_effort outside the list",
        when=every(
            value_of("reasoning_effort", lambda e: e not in ("low", "medium", "high")), model("gpt-oss")
        ),
        message="1 validation error for ChatCompletionServerRequest\nreasoning_effort\n Input should be "
        "'low', 'medium' "
        "or 'high' [type=enum, input_value='{value}', input_type=str]",
        source="inference-docs.cerebras.ai/capabilities/reasoning; "
        "github.com/egoist/chatwise-releases/issues/1325",
        examples=({"model": "gpt-oss-120b", "reasoning_effort": "minimal"},),
        param="validation_error",
        code="wrong_api_format",
    ),
    Refusal(
        name="too many stop strings",
        when=long_list("stop", 4),
        message="body.stop: List should have at most 4 items after validation",
        source=f"{_REFERENCE}: up to 4 sequences",
        examples=({"stop": ["a", "b", "c", "d", "e"]},),
        param="validation_error",
        code="wrong_api_format",
    ),
    Refusal(
        name="streamed JSON from a reasoning model",
        when=every(response_format("json_schema", "json_object"), value_of("stream", bool), _reasoning_model),
        message='"stream=true" with structured outputs is currently not supported for reasoning models.',
        source=f"{_STRUCTURED}; github.com/anomalyco/opencode/issues/992",
        examples=({"model": "gpt-oss-120b", "stream": True, "response_format": SCHEMA},),
        param="stream",
        code="wrong_api_format",
        sure=False,
    ),
    Refusal(
        name="strict schema with an open object",
        when=open_object,
        status=422,
        message="'additionalProperties' is required to be supplied and set to false.",
        source=f"{_STRUCTURED}; github.com/agno-agi/agno/issues/6013",
        examples=({"response_format": OPEN_SCHEMA},),
        param="response_format",
        code="wrong_api_format",
    ),
    Refusal(
        name="images on a text model",
        when=every(in_messages(image()), model(r".", but=r"gemma-4|vision|-vl|llama-4")),
        message="{where}.content: Content type 'image_url' is not supported for this model",
        source="inference-docs.cerebras.ai/models/overview: text models",
        examples=({"model": "qwen-3-235b-a22b-instruct-2507", "messages": [PICTURE]},),
        param="messages",
        code="wrong_api_format",
        sure=False,
    ),
)

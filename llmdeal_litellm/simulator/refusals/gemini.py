"""What Gemini's OpenAI-compatible endpoint refuses: names its protocol buffers do not know."""

from llmdeal_litellm.simulator import errors
from llmdeal_litellm.simulator.refusals.rules import (
    LINKED_PICTURE,
    TOOL,
    USER,
    Hit,
    Refusal,
    given,
    image,
    in_messages,
    long_list,
    role_is,
    tool_functions,
    unknown,
    value_of,
)

_PAGE = "ai.google.dev/gemini-api/docs/openai"

TAKEN = frozenset(
    """
        model messages temperature top_p max_tokens max_completion_tokens n stop stream
        stream_options tools tool_choice response_format reasoning_effort modalities service_tier
        seed frequency_penalty presence_penalty logit_bias logprobs top_logprobs parallel_tool_calls
    """.split()
)
TAKEN_EMBEDDINGS = frozenset("model input encoding_format dimensions user".split())
_STRICT_TOOL = {"type": "function", "function": {**TOOL["function"], "strict": True}}


def _unknown_name(row: Refusal, hit: Hit, message: str) -> errors.Failure:
    """google.rpc.Status with field violations, in a list as the compatible endpoint sends it."""
    made = errors.failure("gemini", row.status, message)
    made.body[0]["error"]["details"] = [
        {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"description": message}]}
    ]
    return made


ROWS = (
    Refusal(
        name="OpenAI fields it does not know",
        when=given("seed", "frequency_penalty"),
        message='Invalid JSON payload received. Unknown name "{field}": Cannot find field.',
        source=f"{_PAGE}; github.com/Vali-98/ChatterUI/issues/227 (text)",
        examples=({"seed": 7}, {"frequency_penalty": 0.5}, {"frequency_penalty": 0}),
        render=_unknown_name,
    ),
    Refusal(
        name="OpenAI fields it may not know",
        when=given("presence_penalty", "logit_bias", "logprobs", "top_logprobs", "parallel_tool_calls"),
        message='Invalid JSON payload received. Unknown name "{field}": Cannot find field.',
        source=f"{_PAGE} does not list them; parallel_tool_calls was refused and later taken",
        examples=(
            {"presence_penalty": 0.5},
            {"logit_bias": {"1": 1}},
            {"logprobs": True},
            {"top_logprobs": 2},
            {"tools": [TOOL], "parallel_tool_calls": False},
        ),
        sure=False,
        render=_unknown_name,
    ),
    Refusal(
        name="unknown fields",
        when=unknown(TAKEN),
        message='Invalid JSON payload received. Unknown name "{field}": Cannot find field.',
        source=_PAGE,
        examples=({"user": "ann"}, {"store": False}, {"metadata": {}}, {"top_k": 5}, {"random_seed": 1}),
        render=_unknown_name,
    ),
    Refusal(
        name="strict in a tool",
        when=tool_functions(lambda f: ("strict", f["strict"]) if "strict" in f else None),
        message="Invalid JSON payload received. Unknown name \"strict\" at '{where}': Cannot find field.",
        source=f"{_PAGE}: its examples have no strict",
        examples=({"tools": [_STRICT_TOOL]},),
        sure=False,
        render=_unknown_name,
    ),
    Refusal(
        name="developer role",
        when=in_messages(role_is("developer")),
        message="Please use a valid role: user, model.",
        source=f"{_PAGE}: its examples use system",
        examples=({"messages": [{"role": "developer", "content": "Be brief"}, USER]},),
        sure=False,
    ),
    Refusal(
        name="images by address",
        when=in_messages(image(only_url=True)),
        message="Invalid content part: image_url must be a base64 data URL.",
        source=f"{_PAGE}, image understanding: base64 in the examples",
        examples=({"messages": [LINKED_PICTURE]},),
        sure=False,
    ),
    Refusal(
        name="too many stop strings",
        when=long_list("stop", 5),
        message="Unable to submit request because it has more than {index} stop sequences.",
        source="ai.google.dev/api/generate-content#generationconfig: up to 5",
        examples=({"stop": ["a", "b", "c", "d", "e", "f"]},),
    ),
    Refusal(
        name="reasoning_effort outside the list",
        when=value_of("reasoning_effort", lambda e: e not in ("none", "minimal", "low", "medium", "high")),
        message="Invalid reasoning_effort: {value}",
        source=f"{_PAGE}, thinking",
        examples=({"reasoning_effort": "xhigh"},),
    ),
    Refusal(
        name="embeddings: unknown fields",
        endpoint="embeddings",
        when=unknown(TAKEN_EMBEDDINGS),
        message='Invalid JSON payload received. Unknown name "{field}": Cannot find field.',
        source=_PAGE,
        examples=({"input_type": "query"}, {"output_dimension": 256}),
        render=_unknown_name,
    ),
    Refusal(
        name="embeddings: too many items",
        endpoint="embeddings",
        when=long_list("input", 100),
        message="* BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch",
        source="ai.google.dev/api/embeddings#method:-models.batchembedcontents",
        examples=({"input": ["a"] * 101},),
    ),
    Refusal(
        name="embeddings: token arrays",
        endpoint="embeddings",
        when=value_of(
            "input", lambda i: isinstance(i, list) and any(not isinstance(item, str) for item in i)
        ),
        message="Value is not a string: {value}",
        source=_PAGE,
        examples=({"input": [1, 2, 3]},),
        sure=False,
    ),
)

"""What NVIDIA's hosted NIM endpoints refuse: their request schemas close with additionalProperties: false."""

from llmdeal_litellm.simulator import errors
from llmdeal_litellm.simulator.refusals.rules import (
    PICTURE,
    USER,
    Hit,
    Json,
    Refusal,
    absent,
    every,
    given,
    image,
    in_messages,
    model,
    role_is,
    unknown,
    value_of,
)
from llmdeal_litellm.simulator.tokens import count

_CHAT = "docs.api.nvidia.com/nim/reference/llm-apis"
_EMBEDDINGS = "docs.api.nvidia.com/nim/reference/nvidia-nv-embedqa-e5-v5-infer"

TAKEN = frozenset(
    """
        model messages temperature top_p max_tokens stream stream_options stop seed
        frequency_penalty presence_penalty tools tool_choice parallel_tool_calls response_format
        reasoning_effort reasoning_budget chat_template_kwargs nvext guided_json
    """.split()
)
TAKEN_EMBEDDINGS = frozenset(
    ["model", "input", "input_type", "encoding_format", "truncate", "user", "dimensions", "modality"]
)
_SIZABLE = r"llama-3\.2-nv-embedqa|llama-nemotron-embed|nemoretriever"
E5_ITEM_TOKENS_MAX = 512


def _problem(row: Refusal, hit: Hit, message: str) -> errors.Failure:
    """The 422 of the older endpoints: problem details that name the function behind the model."""
    body = {
        "type": "urn:inference-service:problem-details:unprocessable-entity",
        "title": "Unprocessable Entity",
        "status": row.status,
        "detail": message,
        "instance": "/v2/nvcf/pexec/functions/b0fcd392-0000-4000-8000-aeae95c30b37",
        "requestId": "380d3287-0000-4000-8000-d5448609595a",
    }
    return errors.Failure(status=row.status, body=body)


def _bare(row: Refusal, hit: Hit, message: str) -> errors.Failure:
    """The embedding endpoints' error: a text under `error`."""
    return errors.Failure(status=row.status, body={"error": message})


def _long_item(body: Json) -> Hit | None:
    """An item over the model's window, unless the caller lets it be cut."""
    if body.get("truncate") in ("START", "END"):
        return None
    given_input = body.get("input")
    items = given_input if isinstance(given_input, list) else [given_input]
    lengths = [count(item) for item in items if isinstance(item, str)]
    longest = max(lengths, default=0)
    return (
        Hit(field="input", value=longest, index=E5_ITEM_TOKENS_MAX) if longest > E5_ITEM_TOKENS_MAX else None
    )


ROWS = (
    Refusal(
        name="fields the Gemma endpoints lack",
        when=every(given("frequency_penalty", "presence_penalty"), model("gemma")),
        status=422,
        message="body -> {field}\n  Extra inputs are not permitted (type=extra_forbidden)",
        source="github.com/NVIDIA/garak/issues/748; "
        "docs.api.nvidia.com/nim/reference/google-gemma-2-27b-it-infer",
        examples=({"model": "google/gemma-2-27b-it", "presence_penalty": 0},),
        render=_problem,
    ),
    Refusal(
        name="max_completion_tokens",
        when=given("max_completion_tokens"),
        message="Validation: Unsupported parameter(s): `{field}`",
        source=f"{_CHAT}: the hosted schemas have max_tokens only",
        examples=({"max_completion_tokens": 16},),
        sure=False,
    ),
    Refusal(
        name="logprobs, logit_bias, n",
        when=given("logprobs", "top_logprobs", "logit_bias", "n"),
        message="Validation: Unsupported parameter(s): `{field}`",
        source=f"{_CHAT}: absent from the hosted schemas, though a self-hosted NIM takes them",
        examples=({"logprobs": True}, {"top_logprobs": 2}, {"logit_bias": {"1": 1}}, {"n": 1}),
        sure=False,
    ),
    Refusal(
        name="unknown fields",
        when=unknown(TAKEN),
        message="Validation: Unsupported parameter(s): `{field}`",
        source=f"{_CHAT}; github.com/diegosouzapw/OmniRoute/issues/848 (text)",
        examples=(
            {"prompt_cache_key": "k"},
            {"store": False},
            {"metadata": {}},
            {"service_tier": "auto"},
            {"user": "ann"},
            {"random_seed": 1},
        ),
    ),
    Refusal(
        name="reasoning_effort on a model without it",
        when=every(given("reasoning_effort"), model(r".", but=r"nemotron-3|gpt-oss")),
        message="Validation: Unsupported parameter(s): `{field}`",
        source="docs.api.nvidia.com/nim/reference/nvidia-nemotron-3-super-120b-a12b-infer has it, others do "
        "not",
        examples=({"model": "meta/llama-3.3-70b-instruct", "reasoning_effort": "low"},),
    ),
    Refusal(
        name="developer role",
        when=in_messages(role_is("developer")),
        message="Unexpected message role.",
        source=f"{_CHAT}: roles are system, user, assistant, tool; vLLM's templates raise on others",
        examples=({"messages": [{"role": "developer", "content": "Be brief"}, USER]},),
        sure=False,
    ),
    Refusal(
        name="images on a text model",
        when=every(in_messages(image()), model(r".", but=r"llama-4|vision|-vl|vlm|gemma-3|qwen3\.5")),
        message="At most 0 image(s) may be provided in one prompt.",
        source="docs.api.nvidia.com/nim/reference/multimodal-apis; vLLM's text",
        examples=({"model": "meta/llama-3.3-70b-instruct", "messages": [PICTURE]},),
    ),
    Refusal(
        name="stream_options without stream",
        when=every(given("stream_options"), absent("stream")),
        message="Stream options can only be defined when `stream=True`.",
        source="docs.vllm.ai, OpenAI-compatible server",
        examples=({"stream_options": {"include_usage": True}},),
    ),
    Refusal(
        name="tool_choice without tools",
        when=every(value_of("tool_choice", lambda choice: choice != "none"), absent("tools")),
        message="When using `tool_choice`, `tools` must be set.",
        source="docs.vllm.ai, OpenAI-compatible server",
        examples=({"tool_choice": "auto"}, {"tool_choice": "required"}),
    ),
    Refusal(
        name="embeddings: input_type missing",
        endpoint="embeddings",
        when=every(absent("input_type"), model("embedqa|nemotron-embed|nemoretriever")),
        message="'input_type' parameter is required for asymmetric models",
        source=f"{_EMBEDDINGS}; github.com/decolua/9router/issues/1378",
        examples=({"model": "nvidia/nv-embedqa-e5-v5"},),
        render=_bare,
    ),
    Refusal(
        name="embeddings: input_type outside the list",
        endpoint="embeddings",
        when=value_of("input_type", lambda kind: kind not in ("query", "passage")),
        message="'input_type' must be one of 'query', 'passage'",
        source=_EMBEDDINGS,
        examples=({"model": "nvidia/nv-embedqa-e5-v5", "input_type": "document"},),
        render=_bare,
    ),
    Refusal(
        name="embeddings: dimensions on a fixed model",
        endpoint="embeddings",
        when=every(given("dimensions"), model(r".", but=_SIZABLE)),
        message='Model "{model}" does not support matryoshka representation, changing output dimensions will '
        "lead to "
        "poor results.",
        source="docs.nvidia.com/nim/nemo-retriever/text-embedding, dynamic embedding sizes",
        examples=(
            {"model": "nvidia/nv-embedqa-e5-v5", "input_type": "query", "dimensions": 256},
            {"model": "baai/bge-m3", "dimensions": 1024},
        ),
    ),
    Refusal(
        name="embeddings: unknown fields",
        endpoint="embeddings",
        when=unknown(TAKEN_EMBEDDINGS),
        message="[{{'type': 'extra_forbidden', 'loc': ('body', '{field}'), 'msg': 'Extra inputs are not "
        "permitted'}}]",
        source=_EMBEDDINGS,
        examples=({"output_dimension": 256},),
        render=_bare,
    ),
    Refusal(
        name="embeddings: token arrays",
        endpoint="embeddings",
        when=value_of(
            "input", lambda i: isinstance(i, list) and any(not isinstance(item, str) for item in i)
        ),
        status=422,
        message="body -> input\n  Input should be a valid string (type=string_type)",
        source=_EMBEDDINGS,
        examples=({"model": "baai/bge-m3", "input": [1, 2, 3]},),
        render=_problem,
    ),
    Refusal(
        name="embeddings: item over the window",
        endpoint="embeddings",
        when=every(_long_item, model("nv-embedqa-e5")),
        message="Input length {value} exceeds maximum allowed token size {index}",
        source=f"{_EMBEDDINGS}: truncate defaults to NONE, which is an error",
        examples=({"model": "nvidia/nv-embedqa-e5-v5", "input_type": "query", "input": "word " * 600},),
        render=_bare,
    ),
)

"""What Gemini refuses on the methods that embed; a single request is read as a batch of one."""

from typing import Any

from llmdeal_litellm.simulator.refusals.gemini_faults import (
    MISFIT,
    UNKNOWN_NAME,
    bad_request,
    misfits,
    unknown_names,
)
from llmdeal_litellm.simulator.refusals.rules import ABSENT, Hit, Json, Refusal, model

_EMBED = "ai.google.dev/api/embeddings"
_VECTORS = "BatchEmbedContentsRequest"
BATCH_MAX = 100
DIMENSIONS_MAX = 3_072


def _requests(body: Json) -> list[Json]:
    return [one for one in body.get("requests") or () if isinstance(one, dict)]


def _other_model(body: Json) -> Hit | None:
    wanted = f"models/{body['model']}"
    for index, one in enumerate(_requests(body)):
        if one.get("model", wanted) != wanted:
            return Hit(index=index, value=one["model"])
    return None


def _no_model(body: Json) -> Hit | None:
    return next((Hit(index=i) for i, one in enumerate(_requests(body)) if not one.get("model")), None)


def _no_text(body: Json) -> Hit | None:
    for index, one in enumerate(_requests(body)):
        parts = (one.get("content") or {}).get("parts") or ()
        if not parts or any(not part.get("text") for part in parts):
            return Hit(index=index)
    return None


def _dimensions(body: Json) -> Hit | None:
    lengths = (one.get("outputDimensionality") for one in _requests(body))
    wrong = next((n for n in lengths if n is not None and not 1 <= n <= DIMENSIONS_MAX), None)
    return Hit(value=wrong) if wrong is not None else None


def _item(**fields: Any) -> Json:
    return {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "a"}]}, **fields}


ROWS = (
    Refusal(
        name="embeddings: models that only write",
        endpoint="embeddings",
        when=model(r".", but=r"embed"),
        status=404,
        message="models/{model} is not found for API version v1beta, or is not supported for embedContent.",
        source="ai.google.dev/gemini-api/docs/troubleshooting",
        examples=({"model": "gemini-2.5-flash"},),
    ),
    Refusal(
        name="embeddings: unknown names",
        endpoint="embeddings",
        when=unknown_names(_VECTORS),
        message=UNKNOWN_NAME,
        source=_EMBED,
        examples=({"input": "a"}, {"requests": [_item(dimensions=256)]}, {"requests": [_item(input="a")]}),
        render=bad_request,
    ),
    Refusal(
        name="embeddings: values of another type",
        endpoint="embeddings",
        when=misfits(_VECTORS),
        message=MISFIT,
        source=_EMBED,
        examples=({"requests": [_item(content="a")]}, {"requests": [_item(taskType="query")]}),
        render=bad_request,
    ),
    Refusal(
        name="embeddings: nothing asked",
        endpoint="embeddings",
        when=lambda body: None if _requests(body) else Hit(),
        message="* BatchEmbedContentsRequest.requests: requests is not specified\n",
        source=_EMBED,
        examples=({"requests": []}, {"requests": ABSENT}),
    ),
    Refusal(
        name="embeddings: too many requests",
        endpoint="embeddings",
        when=lambda body: Hit() if len(_requests(body)) > BATCH_MAX else None,
        message="* BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch\n",
        source=f"{_EMBED}#method:-models.batchembedcontents",
        examples=({"requests": [_item()] * 101},),
    ),
    Refusal(
        name="embeddings: no model inside",
        endpoint="embeddings",
        when=_no_model,
        message="* BatchEmbedContentsRequest.requests[{index}].model: unexpected model name format\n",
        source=f"{_EMBED}: required in each request of a batch",
        examples=({"requests": [_item(model=ABSENT)]}, {"requests": [_item(model="")]}),
    ),
    Refusal(
        name="embeddings: another model inside",
        endpoint="embeddings",
        when=_other_model,
        message="* BatchEmbedContentsRequest.requests[{index}].model: must be the model of the batch\n",
        source=_EMBED,
        examples=(
            {"requests": [_item(model="models/other")]},
            {"requests": [_item(model="gemini-embedding-001")]},
        ),
    ),
    Refusal(
        name="embeddings: no text",
        endpoint="embeddings",
        when=_no_text,
        message="* BatchEmbedContentsRequest.requests[{index}].content: content is empty\n",
        source=f"{_EMBED}: only the parts.text fields are counted",
        examples=(
            {"requests": [_item(content={"parts": [{"text": ""}]})]},
            {"requests": [_item(content=ABSENT)]},
            {"requests": [_item(content={"parts": []})]},
        ),
    ),
    Refusal(
        name="embeddings: dimensions it does not have",
        endpoint="embeddings",
        when=_dimensions,
        message="* BatchEmbedContentsRequest.requests: output_dimensionality must be from 1 to 3072\n",
        source="ai.google.dev/gemini-api/docs/embeddings",
        examples=(
            {"requests": [_item(outputDimensionality=4_096)]},
            {"requests": [_item(outputDimensionality=0)]},
        ),
    ),
)

"""What LiteLLM's bundled table knows of a model, beside its price. Read where it lies, as prices are."""

from dataclasses import dataclass

from llmdeal_litellm.catalog.model import Kind
from llmdeal_litellm.catalog.prices import bundled_table

KINDS = {"chat": Kind.CHAT, "embedding": Kind.EMBEDDING}
"""LiteLLM's modes that an endpoint of ours serves."""
UNKNOWN_WINDOW_TOKENS = 131_072
UNKNOWN_OUTPUT_TOKENS = 4_096
"""What nearly every model takes as an output limit: more may be refused as a whole."""


class NotServed(LookupError):
    """The model is known, and is neither for chats nor for embeddings; the message says what it is for."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model is for and what it takes. Counts are tokens; `dimensions` is the length of an embedding
    model's vectors, where that is known."""

    kind: Kind
    context_window: int
    max_output_tokens: int
    vision: bool = False
    reasoning: bool = False
    dimensions: int | None = None


UNKNOWN = ModelFacts(Kind.CHAT, UNKNOWN_WINDOW_TOKENS, UNKNOWN_OUTPUT_TOKENS)


def facts_of(provider: str, model: str) -> ModelFacts | None:
    """What the table says of a provider's model, or None when it has no such model. Raises NotServed."""
    table = bundled_table()
    row = table.get(f"{provider}/{model}") or table.get(model)
    if row is None or row.get("litellm_provider") != provider:
        return None
    kind = KINDS.get(str(row.get("mode")))
    if kind is None:
        raise NotServed(f"'{model}' is a model for {row.get('mode')}; register one for chat or embedding")
    window = _count(row, "max_input_tokens") or UNKNOWN.context_window
    return ModelFacts(
        kind=kind,
        context_window=window,
        max_output_tokens=min(_count(row, "max_output_tokens") or UNKNOWN.max_output_tokens, window),
        vision=row.get("supports_vision") is True,
        reasoning=row.get("supports_reasoning") is True,
        dimensions=_count(row, "output_vector_size"),
    )


def _count(row: dict[str, object], name: str) -> int | None:
    value = row.get(name)
    return value if isinstance(value, int) and value > 0 else None

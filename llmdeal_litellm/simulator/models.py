"""What the simulator knows about models: windows and output ceilings in tokens, who reasons.

Facts are the providers' published model pages (console.groq.com/docs/models, docs.mistral.ai models overview,
inference-docs.cerebras.ai models overview, build.nvidia.com, developers.openai.com models, ai.google.dev
models, platform.claude.com models overview). A name the tables do not know gets the defaults.
"""

import re

DEFAULT_WINDOW_TOKENS = 131_072

WINDOW_TOKENS: tuple[tuple[str, int], ...] = (
    ("gpt-5.5", 1_050_000),
    ("gpt-5", 400_000),
    ("gpt-4.1", 1_047_576),
    ("gpt-4o", 128_000),
    ("gemini-embedding", 2_048),
    ("gemini-", 1_048_576),
    ("claude-sonnet-4-6", 1_000_000),
    ("claude-opus-4-7", 1_000_000),
    ("claude-", 200_000),
    ("llama-4-maverick", 1_048_576),
    ("codestral-embed", 8_192),
    ("codestral", 256_000),
    ("mistral-embed", 8_192),
    ("mistral-small", 262_144),
    ("mistral-medium", 262_144),
    ("mistral-large", 262_144),
    ("qwen3-coder-480b", 262_144),
    ("nemotron-3-super", 1_048_576),
    ("nv-embedqa-e5-v5", 512),
    ("bge-m3", 8_192),
    ("text-embedding-3", 8_192),
)
"""(part of the model's name, window); the first that matches counts."""

LISTED = ("llama-3.3-70b", "nemotron-super-120b", "qwen3-coder-480b", "qwen3-235b")
"""What a server that somebody runs himself says it has. It answers for any other name as well."""

OUTPUT_CEILING_TOKENS: tuple[tuple[str, str, int], ...] = (
    ("groq", "llama-3.3-70b-versatile", 32_768),
    ("groq", "gpt-oss", 65_536),
    ("openai", "gpt-4o", 16_384),
    ("openai", "gpt-4.1", 32_768),
    ("openai", "gpt-5", 128_000),
    ("anthropic", "claude-sonnet-4-6", 128_000),
    ("anthropic", "claude-opus-4-7", 128_000),
    ("anthropic", "claude-opus-4-1", 32_000),
    ("anthropic", "claude-3-5", 8_192),
    ("anthropic", "claude-", 64_000),
)
"""(provider, part of the model's name, ceiling): these providers refuse a limit above it."""

_REASONING = re.compile(
    r"gpt-oss|nemotron|thinking|magistral|deepseek-r1|qwen3-32b|gpt-5(?!.*chat)|(^|/)o[134]\b"
    r"|gemini-(2\.5|3)"
)
_NOT_REASONING = re.compile(r"embed|instruct-2507|flash-lite")
_THINKS_WHEN_TOLD = re.compile(r"gemini-2\.5-flash-lite")
_HIDES_THOUGHTS = re.compile(r"claude-opus-4-[7-9]")
_CTX_SUFFIX = re.compile(r"-ctx(\d{1,9})$")


def window_tokens(model: str) -> int:
    """The model's window; a name that ends in `-ctxN` has a window of N tokens."""
    suffix = _CTX_SUFFIX.search(model)
    if suffix:
        return int(suffix.group(1))
    return next((tokens for part, tokens in WINDOW_TOKENS if part in model), DEFAULT_WINDOW_TOKENS)


def output_ceiling_tokens(provider: str, model: str) -> int | None:
    """The largest output limit the provider takes for this model, or None when it takes any."""
    rows = OUTPUT_CEILING_TOKENS
    return next((tokens for who, part, tokens in rows if who == provider and part in model), None)


def reasons(model: str) -> bool:
    """Whether the model thinks before it answers."""
    return bool(_REASONING.search(model)) and not _NOT_REASONING.search(model)


def can_think(model: str) -> bool:
    """Whether the model thinks by itself or when it is given a budget for it."""
    return reasons(model) or bool(_THINKS_WHEN_TOLD.search(model))


def thinking_display(model: str) -> str:
    """What becomes of the thinking's text where the request does not say: `summarized` or `omitted`."""
    return "omitted" if _HIDES_THOUGHTS.search(model) else "summarized"

"""The providers' tell-tales: headers, ids and names that betray who answered. Data first, then the makers.

Sources: response headers and bodies as shown in each provider's API reference and in public bug reports of
their SDKs (Groq: console.groq.com/docs/api-reference and /docs/rate-limits; Mistral: docs.mistral.ai/api;
Cerebras: inference-docs.cerebras.ai/api-reference/chat-completions; NVIDIA:
docs.api.nvidia.com/nim/reference; OpenAI: developers.openai.com/api/reference; Gemini:
ai.google.dev/api/generate-content; Anthropic: platform.claude.com/docs/en/api/messages and /rate-limits).
"""

import secrets
import uuid
from dataclasses import dataclass

PROVIDERS = ("openai", "groq", "mistral", "cerebras", "nvidia_nim", "gemini", "anthropic", "generic")

EMBEDDERS = frozenset({"openai", "mistral", "nvidia_nim", "generic"})
"""Groq and Cerebras have no embeddings endpoint: theirs is a 404. Native wires have paths of their own."""

LISTERS = frozenset({"generic"})
"""Who says which models it has: a server that somebody runs himself."""

REASONING_FIELD = {
    "groq": "reasoning",
    "cerebras": "reasoning",
    "nvidia_nim": "reasoning_content",
    "generic": "reasoning_content",
    "mistral": "content",
}
"""Where reasoning text shows. Mistral puts `thinking` parts into a content list; the others hide it."""

LOGPROBS = frozenset({"openai", "cerebras", "generic"})
"""Who answers `logprobs`; the rest refuse it."""


@dataclass(frozen=True)
class Ids:
    """The ids of one answer, in the provider's own format, derived from the request's hash."""

    provider: str
    seed: str

    @property
    def answer(self) -> str:
        s = self.seed
        match self.provider:
            case "groq" | "cerebras":
                return f"chatcmpl-{uuid.UUID(s[:32])}"
            case "mistral":
                return s[:32]
            case "nvidia_nim":
                return f"chat-{s[:32]}"
            case "gemini":
                return _letters(s, 22)
            case "anthropic":
                return f"msg_01{_letters(s, 22)}"
            case _:
                return f"chatcmpl-{_letters(s, 29)}"

    def tool_call(self, index: int) -> str:
        s = self.seed[index % 32 :] + self.seed
        match self.provider:
            case "groq":
                return f"fc_{uuid.UUID(s[:32])}"
            case "mistral":
                return _letters(s, 9)
            case "nvidia_nim":
                return f"chatcmpl-tool-{s[:32]}"
            case "cerebras":
                return s[:9]
            case "gemini":
                return f"function-call-{int(s[:16], 16)}"
            case "anthropic":
                return f"toolu_01{_letters(s, 22)}"
            case _:
                return f"call_{_letters(s, 24)}"

    @property
    def fingerprint(self) -> str | None:
        return f"fp_{self.seed[:10]}" if self.provider in ("openai", "groq", "cerebras", "generic") else None


_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def _letters(seed: str, length: int) -> str:
    """`length` alphanumerics out of a hex text, two digits each."""
    pairs = (int((seed * 2)[i : i + 2], 16) for i in range(0, 2 * length, 2))
    return "".join(_ALPHABET[value % len(_ALPHABET)] for value in pairs)


def shown_model(provider: str, model: str) -> str:
    """The model name an answer shows; OpenAI resolves an alias to a dated snapshot."""
    dated = provider == "openai" and not model[-4:].isdigit() and "-ctx" not in model
    return f"{model}-2025-08-07" if dated and model.startswith("gpt-") else model


def headers(provider: str, model: str = "") -> list[tuple[str, str]]:
    """Response headers the provider sends besides content type and date, fresh values each time."""
    token = secrets.token_hex(16)
    return [
        (name, value.format(token=token, short=token[:16], uuid=uuid.UUID(token), model=model or "none"))
        for name, value in _HEADERS[provider]
    ]


_CLOUDFLARE = (
    ("server", "cloudflare"),
    ("cf-ray", "{short}-AMS"),
    ("cf-cache-status", "DYNAMIC"),
    ("alt-svc", 'h3=":443"; ma=86400'),
    ("x-content-type-options", "nosniff"),
    ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
)

_RATE_LIMITS = (
    ("x-ratelimit-limit-requests", "14400"),
    ("x-ratelimit-limit-tokens", "18000"),
    ("x-ratelimit-remaining-requests", "14370"),
    ("x-ratelimit-remaining-tokens", "17997"),
    ("x-ratelimit-reset-requests", "2m59.56s"),
    ("x-ratelimit-reset-tokens", "7.66ms"),
)


def _cookies(domain: str) -> tuple[tuple[str, str], ...]:
    tail = f"path=/; domain={domain}; HttpOnly; Secure; SameSite=None"
    return (
        ("set-cookie", "__cf_bm={token}-1.0.1.1; expires=Wed, 01-Jan-31 00:00:00 GMT; " + tail),
        ("set-cookie", "_cfuvid={token}-0.0.1.1-604800000; " + tail),
    )


_HEADERS: dict[str, tuple[tuple[str, str], ...]] = {
    "openai": (
        *_CLOUDFLARE,
        *_RATE_LIMITS,
        *_cookies(".api.openai.com"),
        ("openai-organization", "org-simulatedorganization"),
        ("openai-project", "proj_simulatedproject"),
        ("openai-processing-ms", "412"),
        ("openai-version", "2020-10-01"),
        ("x-envoy-upstream-service-time", "430"),
        ("x-openai-proxy-wasm", "v0.1"),
        ("x-request-id", "req_{token}"),
        ("access-control-expose-headers", "X-Request-ID"),
    ),
    "groq": (
        *_CLOUDFLARE,
        *_RATE_LIMITS,
        *_cookies(".groq.com"),
        ("via", "1.1 google"),
        ("x-groq-region", "fra"),
        ("x-request-id", "req_{token}"),
        ("vary", "Origin"),
        ("cache-control", "private, max-age=0, no-store, no-cache, must-revalidate"),
    ),
    "mistral": (
        *_CLOUDFLARE,
        *_cookies(".mistral.ai"),
        ("mistral-correlation-id", "{uuid}"),
        ("x-kong-request-id", "{uuid}"),
        ("x-kong-upstream-latency", "131"),
        ("x-kong-proxy-latency", "7"),
        ("x-envoy-upstream-service-time", "131"),
        ("x-ratelimit-limit-req-minute", "360"),
        ("x-ratelimit-remaining-req-minute", "359"),
        ("x-ratelimit-limit-tokens-minute", "2000000"),
        ("x-ratelimit-remaining-tokens-minute", "1999983"),
        ("access-control-allow-origin", "*"),
    ),
    "cerebras": (
        *_CLOUDFLARE,
        *_cookies(".cerebras.ai"),
        ("inference-id", "chatcmpl-{uuid}"),
        ("x-request-id", "{short}-AMS"),
        ("x-ratelimit-limit-requests-day", "1440000"),
        ("x-ratelimit-remaining-requests-day", "1439999"),
        ("x-ratelimit-limit-tokens-minute", "400000"),
        ("x-ratelimit-remaining-tokens-minute", "399841"),
        ("x-ratelimit-reset-tokens-minute", "11.3"),
        ("referrer-policy", "strict-origin-when-cross-origin"),
    ),
    "nvidia_nim": (
        ("server", "uvicorn"),
        ("nvcf-reqid", "{uuid}"),
        ("nvcf-status", "fulfilled"),
        ("access-control-expose-headers", "nvcf-reqid"),
        ("vary", "Origin"),
        ("x-request-id", "{uuid}"),
    ),
    "gemini": (
        ("server", "scaffolding on HTTPServer2"),
        ("server-timing", "gfet4t7; dur=531"),
        ("x-gemini-service-tier", "standard"),
        ("vary", "Origin, X-Origin, Referer"),
        ("x-xss-protection", "0"),
        ("x-frame-options", "SAMEORIGIN"),
        ("x-content-type-options", "nosniff"),
        ("alt-svc", 'h3=":443"; ma=2592000'),
    ),
    "anthropic": (
        *_CLOUDFLARE,
        *_cookies(".api.anthropic.com"),
        ("anthropic-organization-id", "{uuid}"),
        ("request-id", "req_01{short}"),
        ("anthropic-ratelimit-requests-limit", "4000"),
        ("anthropic-ratelimit-requests-remaining", "3999"),
        ("anthropic-ratelimit-requests-reset", "2031-01-01T00:00:00Z"),
        ("anthropic-ratelimit-input-tokens-limit", "2000000"),
        ("anthropic-ratelimit-input-tokens-remaining", "1999000"),
        ("anthropic-ratelimit-output-tokens-limit", "400000"),
        ("anthropic-ratelimit-output-tokens-remaining", "399000"),
        ("x-envoy-upstream-service-time", "612"),
        ("x-robots-tag", "none"),
    ),
    "generic": (
        ("server", "vLLM"),
        ("x-request-id", "{token}"),
        ("x-backend-host", "gpu-17.internal.example"),
        ("x-served-model", "{model}"),
        ("set-cookie", "affinity={token}; Path=/; HttpOnly"),
    ),
}

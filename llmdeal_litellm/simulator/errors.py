"""Error bodies in each provider's own shape: 401, 404, context too long, refusals, scripted failures.

Sources: console.groq.com/docs/errors; docs.mistral.ai/api (HTTPValidationError) and the Kong gateway in
front of it; inference-docs.cerebras.ai/support/error; docs.api.nvidia.com/nim/reference (problem details,
and vLLM's ErrorResponse); ai.google.dev/gemini-api/docs/troubleshooting (google.rpc.Status);
platform.claude.com/docs/en/api/errors;
developers.openai.com/api/docs/guides/error-codes.
"""

import secrets
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

REJECTED = "-rejected-"
"""In a key: the simulator refuses it as its provider refuses an unknown one."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One error answer: status and the body as JSON."""

    status: int
    body: Any


_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "overloaded_error",
}
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_RPC = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


def failure(
    provider: str,
    status: int,
    message: str,
    *,
    kind: str | None = None,
    code: str | None = None,
    param: str | None = None,
) -> Failure:
    """An error in the provider's ordinary shape. `kind` is what most of them call `type`."""
    shown = kind or _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    match provider:
        case "groq":
            error: Json = {"message": message, "type": shown}
            error |= {key: value for key, value in (("param", param), ("code", code)) if value is not None}
            body: Any = {"error": error}
        case "mistral":
            body = {
                "object": "error",
                "message": message,
                "type": shown,
                "param": param,
                "code": code,
                "raw_status_code": status,
            }
        case "cerebras":
            body = {"message": message, "type": shown, "param": param or "", "code": code or shown}
        case "nvidia_nim":
            body = {
                "error": {
                    "message": message,
                    "type": kind or "BadRequestError",
                    "param": param,
                    "code": status,
                }
            }
            if status in (401, 403, 404, 429) or status >= 500:
                body = {"status": status, "title": _TITLES.get(status, "Error"), "detail": message}
        case "gemini":
            body = {"error": {"code": status, "message": message, "status": _RPC.get(status, "UNKNOWN")}}
        case "anthropic":
            error = {"type": kind or _ANTHROPIC_TYPES.get(status, "api_error"), "message": message}
            body = {"type": "error", "error": error, "request_id": f"req_011{secrets.token_hex(10)}"}
        case _:
            body = {"error": {"message": message, "type": shown, "param": param, "code": code}}
    return Failure(status=status, body=body)


def bad_json(provider: str) -> Failure:
    """A body that is no JSON object."""
    texts = {
        "gemini": "Invalid JSON payload received. Expected an object.",
        "anthropic": "The request body is not valid JSON: expected an object",
    }
    return failure(provider, 400, texts.get(provider, "We could not parse the JSON body of your request."))


def of_key(provider: str, key: str) -> Failure | None:
    """What a provider says to a key: nothing, unless there is none or it has REJECTED in it."""
    if not key.strip():
        return unauthorized(provider)
    return wrong_key(provider) if REJECTED in key else None


def wrong_key(provider: str) -> Failure:
    """A key that the provider does not know, or no longer."""
    match provider:
        case "openai":
            message = (
                "Incorrect API key provided: sk-*****. You can find your API key at "
                "https://platform.openai.com/account/api-keys."
            )
            return failure(provider, 401, message, kind="invalid_request_error", code="invalid_api_key")
        case "nvidia_nim":
            return failure(provider, 403, "Authorization failed")
        case "gemini":
            return failure(provider, 400, "API key not valid. Please pass a valid API key.")
        case "anthropic":
            return failure(provider, 401, "invalid x-api-key")
        case _:
            return unauthorized(provider)


def unauthorized(provider: str) -> Failure:
    """No key, or not where the provider looks for it."""
    match provider:
        case "groq":
            return failure(
                provider, 401, "Invalid API Key", kind="invalid_request_error", code="invalid_api_key"
            )
        case "mistral":
            return Failure(status=401, body={"detail": "Unauthorized"})
        case "cerebras":
            return failure(
                provider,
                401,
                "Wrong API Key",
                kind="invalid_request_error",
                param="api_key",
                code="wrong_api_key",
            )
        case "nvidia_nim":
            return failure(provider, 401, "Header of type `authorization` was missing")
        case "gemini":
            return failure(
                provider,
                403,
                "Callers without an established identity may not use this method. Send an API key.",
            )
        case "anthropic":
            return failure(provider, 401, "x-api-key header is required")
        case _:
            return failure(
                provider,
                401,
                "You didn't provide an API key. You need to provide your API key in an Authorization "
                "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
                kind="invalid_request_error",
            )


def not_found(provider: str, method: str, path: str) -> Failure:
    """A path the provider does not have."""
    match provider:
        case "groq":
            message = (
                f"Unknown request URL: {method} {path}. Please check the URL for typos, or see the docs at"
            )
            return failure(
                provider,
                404,
                f"{message} https://console.groq.com/docs/",
                code="unknown_url",
                kind="invalid_request_error",
            )
        case "mistral":
            return Failure(status=404, body={"message": "no Route matched with those values"})
        case "cerebras":
            return failure(provider, 404, f"Path {path} does not exist.", code="not_found")
        case "nvidia_nim":
            return failure(
                provider, 404, "Function '00000000-simulated': Not found for account 'simulated-account'"
            )
        case "gemini":
            return failure(provider, 404, f"Nothing was found for {method} {path}.")
        case "anthropic":
            return failure(provider, 404, "Not Found")
        case _:
            return failure(provider, 404, f"Invalid URL ({method} {path})", kind="invalid_request_error")


_TOO_LONG = {
    "openai": "This model's maximum context length is {window} tokens. However, your messages resulted in"
    " {prompt} tokens. Please reduce the length of the messages.",
    "groq": "Please reduce the length of the messages or completion.",
    "mistral": "Prompt contains {prompt} tokens and 0 draft tokens, too large for model with {window} "
    "maximum context length",
    "cerebras": "Please reduce the length of the messages or completion. Current length is {total} while "
    "limit is {window}",
    "nvidia_nim": "This model's maximum context length is {window} tokens. However, you requested {total} "
    "tokens ({prompt} in the messages, {output} in the completion). Please reduce the length of"
    " the messages or completion.",
    "gemini": "The input token count ({prompt}) exceeds the maximum number of tokens allowed ({window}).",
    "anthropic": "prompt is too long: {prompt} tokens > {window} maximum",
}
_TOO_LONG_WITH_OUTPUT = {
    "nvidia_nim": _TOO_LONG["nvidia_nim"],
    "anthropic": "input length and `max_tokens` exceed context limit: {prompt} + {output} > {window}, "
    "decrease input length or `max_tokens` and try again",
}
"""vLLM (behind NVIDIA) and Anthropic also refuse a prompt that fits only without the requested output."""


def context_too_long(
    provider: str, *, prompt_tokens: int, window_tokens: int, output_tokens: int
) -> Failure | None:
    """The provider's own refusal of a prompt that does not fit its window, or None when it fits."""
    total = prompt_tokens + output_tokens
    if prompt_tokens > window_tokens:
        text = _TOO_LONG.get(provider, _TOO_LONG["openai"])
    elif total > window_tokens and provider in _TOO_LONG_WITH_OUTPUT:
        text = _TOO_LONG_WITH_OUTPUT[provider]
    else:
        return None
    message = text.format(prompt=prompt_tokens, window=window_tokens, output=output_tokens, total=total)
    if provider == "mistral":
        return failure(provider, 400, message, code="3051")
    return failure(provider, 400, message, param="messages", code="context_length_exceeded")


def scripted(provider: str, status: int) -> Failure:
    """A failure a test asked for. The text carries strings that must never reach the gateway's callers."""
    made = failure(
        provider,
        status,
        f"canary-error-message: {provider} account org_canary-organization on "
        f"https://canary-host.{provider}.example/v1 failed with {status}",
        kind="canary-error-type",
        code="canary-error-code",
        param="canary-error-param",
    )
    if provider == "gemini":
        made.body["error"]["details"] = [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "canary-error-reason",
                "domain": "canary-error-domain",
                "metadata": {"service": "canary-error-service"},
            }
        ]
    elif isinstance(made.body, dict):
        made.body["request_id"] = "canary-error-request-id"
    return made

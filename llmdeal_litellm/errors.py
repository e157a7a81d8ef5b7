"""Every refusal and failure a caller can see, one class per row of the published error table.

GatewayError
├── InvalidRequest 400            ├── UnsupportedParameter 400
├── ContextLengthExceeded 400     ├── ByoKeyRejected 400
├── InvalidApiKey 401             ├── QuotaExhausted 402
├── ModelNotInTier 403            ├── KeyFrozen 403
├── NotFound 404                  ├── ModelNotAvailable 404
├── ModelNotFound 404             ├── MethodNotAllowed 405
├── RequestInProgress 409         ├── RequestTooLarge 413
├── UnsupportedMediaType 415      ├── IdempotencyConflict 422
├── RateLimited 429               ├── InternalError 500
├── UpstreamError 502             ├── ServiceUnavailable 503
├── NoConsortiumMachineAvailable 503
├── UpstreamCircuitOpen 503       └── UpstreamTimeout 504

Nothing else in the package spells an HTTP status. Each message is one or two sentences and says what
to do next. Source: API reference, "Errors"; the codes beyond its table are listed in
docs/decisions/0003-errors.md.
"""

from typing import ClassVar

INVALID_REQUEST_TYPE = "invalid_request_error"
QUOTA_TYPE = "insufficient_quota"
RATE_LIMIT_TYPE = "rate_limit_error"
API_TYPE = "api_error"


class GatewayError(Exception):
    """Base of all. `status`, `code` and `type` are fixed per class; the message is built from fields."""

    status: ClassVar[int]
    code: ClassVar[str]
    type: ClassVar[str] = INVALID_REQUEST_TYPE

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Response headers that belong to this refusal, beside those of every answer."""
        return ()

    def envelope(self) -> dict[str, dict[str, str]]:
        """The body: exactly `{"error": {"code", "message", "type"}}`."""
        return {"error": {"code": self.code, "message": self.message, "type": self.type}}


class InvalidRequest(GatewayError):
    """The body is not what the endpoint takes. `message` names the field."""

    status, code = 400, "invalid_request"


class UnsupportedParameter(GatewayError):
    """One of the ten names that would let a caller steer the upstream call."""

    status, code = 400, "unsupported_parameter"

    def __init__(self, name: str) -> None:
        super().__init__(f"'{name}' is not supported here. Remove it from the request body.")


class ContextLengthExceeded(GatewayError):
    """The upstream said that the input does not fit the model's context window."""

    status, code = 400, "context_length_exceeded"

    def __init__(self, model: str, window: int) -> None:
        super().__init__(
            f"The input is too long for '{model}' (context window {window} tokens). "
            "Shorten the messages or choose a model with a larger window."
        )


class ByoKeyRejected(GatewayError):
    """The provider refused the caller's own upstream key, or the account that the key is of."""

    status, code = 400, "byo_key_rejected"

    def __init__(self, model: str) -> None:
        super().__init__(
            f"The provider refused your own upstream key behind '{model}'. Check the key, its rights and its "
            "account there, and register one that works."
        )


class InvalidApiKey(GatewayError):
    """Missing, malformed, unknown or revoked key: the same bytes whatever was wrong."""

    status, code = 401, "invalid_api_key"

    def __init__(self) -> None:
        super().__init__(
            "Missing, malformed or revoked API key. Send 'Authorization: Bearer lld_<32 hex>' "
            "and re-mint the key if it was revoked."
        )

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return ((b"www-authenticate", b"Bearer"),)


class QuotaExhausted(GatewayError):
    """Available funds, or the key's cap, are below the estimated cost of this request."""

    status, code, type = 402, "quota_exhausted", QUOTA_TYPE


class ModelNotInTier(GatewayError):
    """The alias exists, and the caller's tier or add-on does not include it."""

    status, code = 403, "model_not_in_tier"


class KeyFrozen(GatewayError):
    """The account was frozen by the operator or by a payment dispute."""

    status, code = 403, "key_frozen"

    def __init__(self) -> None:
        super().__init__("This account is frozen. Contact support to have it released.")


class NotFound(GatewayError):
    """No such path."""

    status, code = 404, "not_found"

    def __init__(self) -> None:
        super().__init__("There is nothing at this path. See the API reference for the endpoints under /v1.")


class ModelNotAvailable(GatewayError):
    """The alias is not in the catalog (chat and embeddings)."""

    status, code = 404, "model_not_available"

    def __init__(self, model: str) -> None:
        super().__init__(
            f"Model '{shown(model)}' is not in the catalog. Compare against GET /v1/models or "
            "GET /v1/cost-preview/rates."
        )


class ModelNotFound(ModelNotAvailable):
    """The alias is not in the catalog (cost-preview and /v1/models/{id})."""

    code = "model_not_found"


class MethodNotAllowed(GatewayError):
    """The path exists, the method does not."""

    status, code = 405, "method_not_allowed"

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"{shown(method)} is not allowed here. Use {' or '.join(allowed)}.")
        self.allowed = allowed

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return ((b"allow", ", ".join(self.allowed).encode()),)


class RequestTooLarge(GatewayError):
    """The body is over the endpoint's cap, counted on the wire."""

    status, code = 413, "request_too_large"

    def __init__(self, cap_bytes: int) -> None:
        super().__init__(f"The request body is larger than {cap_bytes} bytes. Send a smaller one.")


class UnsupportedMediaType(GatewayError):
    """Not `application/json`, or a compressed body."""

    status, code = 415, "unsupported_media_type"

    def __init__(self) -> None:
        super().__init__("Send an uncompressed body with 'Content-Type: application/json'.")


class RetryableError(GatewayError):
    """A failure that carries `Retry-After` (whole seconds, 1 to 60) and may say that a retry is pointless."""

    def __init__(self, message: str, *, retry_after_s: int = 1, retry_pointless: bool = False) -> None:
        super().__init__(message)
        self.retry_after_s = max(1, min(60, retry_after_s))
        self.retry_pointless = retry_pointless

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        found: tuple[tuple[bytes, bytes], ...] = ((b"retry-after", str(self.retry_after_s).encode()),)
        return (*found, (b"x-should-retry", b"false")) if self.retry_pointless else found


class RequestInProgress(RetryableError):
    """The first request with this Idempotency-Key still runs."""

    status, code = 409, "request_in_progress"

    def __init__(self) -> None:
        super().__init__(
            "A request with this Idempotency-Key is being answered. Retry after the time in Retry-After, for "
            "its answer."
        )


class IdempotencyConflict(GatewayError):
    """The Idempotency-Key was used before, and its answer is not this request's, or there is none."""

    status, code = 422, "idempotency_conflict"


class RateLimited(RetryableError):
    """A gateway or upstream limit."""

    status, code, type = 429, "rate_limited", RATE_LIMIT_TYPE


class InternalError(GatewayError):
    """A defect of ours."""

    status, code, type = 500, "internal_error", API_TYPE

    def __init__(self) -> None:
        super().__init__(
            "The gateway failed on this request. Retry it, and report the x-llmdeal-request-id header if it "
            "fails again."
        )


class UpstreamError(GatewayError):
    """The upstream failed or answered nonsense."""

    status, code, type = 502, "upstream_error", API_TYPE

    def __init__(self) -> None:
        super().__init__("The model's upstream failed on this request. Retry it, or use a smart-route alias.")


class UpstreamTimeout(GatewayError):
    """The upstream did not answer in time."""

    status, code, type = 504, "upstream_timeout", API_TYPE

    def __init__(self) -> None:
        super().__init__("The model's upstream did not answer in time. Retry it, or use a smart-route alias.")


class ServiceUnavailable(RetryableError):
    """Our own store is down, or nothing serves the alias here."""

    status, code, type = 503, "service_unavailable", API_TYPE

    def __init__(
        self,
        message: str = "The gateway cannot reach its own store. Retry in a few seconds.",
        *,
        retry_after_s: int = 2,
        retry_pointless: bool = False,
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s, retry_pointless=retry_pointless)


class NoConsortiumMachineAvailable(RetryableError):
    """A `consortium-*` alias, and no partner machine is healthy."""

    status, code, type = 503, "no_consortium_machine_available", API_TYPE

    def __init__(self, model: str) -> None:
        super().__init__(
            f"No partner machine serves '{model}' at the moment. Use its catalog sibling or smart-route.",
            retry_after_s=60,
            retry_pointless=True,
        )


class UpstreamCircuitOpen(RetryableError):
    """The breaker of the only upstream for this alias is open."""

    status, code, type = 503, "upstream_circuit_open", API_TYPE


def shown(text: str, limit: int = 80) -> str:
    """A caller's own text, made safe to put in a message: cut and without control characters."""
    clean = "".join(c if c.isprintable() else "?" for c in text[: limit + 1])
    return clean if len(clean) <= limit else clean[:limit] + "…"

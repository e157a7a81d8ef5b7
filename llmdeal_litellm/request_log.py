"""One structured line a request: who, what, served by whom, what it cost and how long it took.

No prompt, no answer, no raw key and no upstream's words are in it: `Exchange` does not keep them.
"""

import logging

import orjson

from llmdeal_litellm.exchange import Exchange
from llmdeal_litellm.money import charge
from llmdeal_litellm.policy.usage import Billed

log = logging.getLogger("llmdeal.request")

CALLER_LEFT = "caller_left"
"""In the place of an error code, for a request whose client did not wait."""


def charged(exchange: Exchange, billed: Billed) -> int:
    """Nano-USD of what was billed, at the rates of the alias."""
    return charge(exchange.alias.rates, billed.input, billed.output, billed.cached)


def write(exchange: Exchange, *, path: str, status: int | None, code: str | None) -> None:
    """Log the request and count it. `status` is None when no answer began, `code` that of an error."""
    metrics, serving, billed = exchange.services.metrics, exchange.serving, exchange.billed
    metrics.answers.labels(path, str(status or 0), code or "").inc()
    total_s = exchange.services.monotonic_s() - exchange.begun_s
    upstream_s = serving.upstream_s if serving is not None else 0.0
    line: dict[str, object] = {
        "request": exchange.request_id,
        "path": path,
        "key": exchange.caller.key_id if exchange.caller is not None else None,
        "status": status,
        "code": code,
        "ms": round(total_s * 1000, 1),
    }
    if serving is not None:
        line |= {
            "alias": exchange.alias.name,
            "served_by": serving.member.deployment.id,
            "attempts": serving.attempts,
            "upstream_ms": round(upstream_s * 1000, 1),
            "ours_ms": round((total_s - upstream_s) * 1000, 1),
            "first_output_ms": None
            if exchange.first_output_s is None
            else round((exchange.first_output_s - exchange.begun_s) * 1000, 1),
            "rule": exchange.rule.value if exchange.rule is not None else None,
            "billed": [billed.input, billed.output] if billed is not None else None,
            "claimed": [exchange.claim.input, exchange.claim.output],
            "charge_nano_usd": 0 if billed is None else charged(exchange, billed),
        }
        _measure(exchange, total_s - upstream_s, upstream_s)
    log.info("%s", orjson.dumps(line).decode())


def _measure(exchange: Exchange, ours_s: float, upstream_s: float) -> None:
    metrics, billed = exchange.services.metrics, exchange.billed
    metrics.seconds.labels("ours").observe(ours_s)
    metrics.seconds.labels("upstream").observe(upstream_s)
    if exchange.first_output_s is not None:
        metrics.seconds.labels("first_output").observe(exchange.first_output_s - exchange.begun_s)
    if exchange.rule is not None:
        metrics.holds_ended.labels(exchange.rule.value).inc()
    if billed is None:
        return
    metrics.tokens.labels(exchange.alias.counted_as, "input").inc(billed.input)
    metrics.tokens.labels(exchange.alias.counted_as, "output").inc(billed.output)
    metrics.charged.labels(exchange.alias.wallet.value).inc(charged(exchange, billed))
    for mark in billed.marks:
        metrics.claims_marked.labels(mark).inc()

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
    metrics.answers.inc(path, str(status or 0), code or "")
    total_s = exchange.services.monotonic_s() - exchange.begun_s
    line: dict[str, object] = {
        "request": exchange.request_id,
        "path": path,
        "key": exchange.caller.key_id if exchange.caller is not None else None,
        "status": status,
        "code": code,
        "ms": round(total_s * 1000, 1),
    }
    if serving is not None:
        upstream_s, first_s = serving.upstream_s, exchange.first_output_s
        amount = 0 if billed is None else charged(exchange, billed)
        rule = exchange.rule.value if exchange.rule is not None else None
        line |= {
            "alias": exchange.alias.name,
            "served_by": serving.member.deployment.id,
            "attempts": serving.attempts,
            "upstream_ms": round(upstream_s * 1000, 1),
            "ours_ms": round((total_s - upstream_s) * 1000, 1),
            "first_output_ms": None if first_s is None else round((first_s - exchange.begun_s) * 1000, 1),
            "rule": rule,
            "billed": [billed.input, billed.output] if billed is not None else None,
            "claimed": [exchange.claim.input, exchange.claim.output],
            "charge_nano_usd": amount,
        }
        _measure(exchange, total_s - upstream_s, upstream_s, rule, amount)
    if log.isEnabledFor(logging.INFO):
        # Made here: the logger would look through the stack for its caller, which takes as long as all else.
        said = orjson.dumps(line).decode()
        log.handle(log.makeRecord(log.name, logging.INFO, __file__, 0, said, (), None))


def _measure(exchange: Exchange, ours_s: float, upstream_s: float, rule: str | None, amount: int) -> None:
    metrics, billed = exchange.services.metrics, exchange.billed
    metrics.seconds.observe(ours_s, "ours")
    metrics.seconds.observe(upstream_s, "upstream")
    if exchange.first_output_s is not None:
        metrics.seconds.observe(exchange.first_output_s - exchange.begun_s, "first_output")
    if rule is not None:
        metrics.holds_ended.inc(rule)
    if billed is None:
        return
    alias = exchange.alias
    counted_as = alias.counted_as
    metrics.tokens.inc(counted_as, "input", by=billed.input)
    metrics.tokens.inc(counted_as, "output", by=billed.output)
    metrics.charged.inc(alias.wallet_name, by=amount)
    for mark in billed.marks:
        metrics.claims_marked.inc(mark)

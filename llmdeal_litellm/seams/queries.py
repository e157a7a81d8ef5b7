"""The endpoints that call no upstream: cost-preview, rates, models. They hold and charge nothing."""

import orjson

from llmdeal_litellm import limits
from llmdeal_litellm.catalog.model import Alias
from llmdeal_litellm.errors import InvalidRequest
from llmdeal_litellm.exchange import Exchange
from llmdeal_litellm.money import charge, usd_number
from llmdeal_litellm.naming import own_aliases, shown_alias
from llmdeal_litellm.policy import access
from llmdeal_litellm.policy.chat_request import output_limit, parse_model
from llmdeal_litellm.policy.messages import parse_messages
from llmdeal_litellm.policy.preview import bands
from llmdeal_litellm.policy.rates import model_object, rate_numbers, render_models
from llmdeal_litellm.policy.tokens import count_preview
from llmdeal_litellm.seams.http import HttpExchange

ESTIMATOR = "tiktoken-cl100k-base"
BYO_NOTE = (
    "BYO model: requests go upstream with your own key, and llmdeal bills nothing for them; the provider of "
    "the key bills you."
)


async def cost_preview(http: HttpExchange, exchange: Exchange) -> None:
    """POST /v1/cost-preview: reads model, messages and max_tokens, nothing else."""
    body = await http.read_json(limits.PREVIEW_BODY_BYTES_MAX)
    model = parse_model(body)
    messages = parse_messages(body.get("messages"))
    limit = output_limit(body, "max_tokens")
    services = exchange.services
    alias = await _shown(exchange, model)
    access.require_chat(alias, model)
    if any(m.images for m in messages) and not alias.vision:
        raise InvalidRequest(f"'{model}' takes no images. Use a model with the tag 'vision'.")
    chars = sum(len(m.text) for m in messages)
    counter = services.counts.of(exchange.known_caller.account_id)
    tokens = await services.off_loop(chars, count_preview, messages, alias.image_tokens, counter)
    await http.respond(200, _estimate(model, alias, tokens, limit))


async def _shown(exchange: Exchange, model: str) -> Alias:
    return await shown_alias(
        exchange.services, exchange.catalog, exchange.store, exchange.known_caller, model
    )


def _estimate(model: str, alias: Alias, tokens: int, limit: int | None) -> bytes:
    est, rates = bands(tokens, limit), alias.rates
    input_cost = charge(rates, tokens, 0)
    costs = {name: charge(rates, tokens, n) for name, n in _named(est.low, est.expected, est.high).items()}
    return orjson.dumps(
        {
            "ok": True,
            "model": model,
            "input_tokens": tokens,
            "est_output_tokens": _named(est.low, est.expected, est.high),
            "est_cost_usd": 0 if alias.own_key else {name: usd_number(cost) for name, cost in costs.items()},
            "breakdown": {
                "input_usd": usd_number(input_cost),
                "output_usd": usd_number(costs["expected"] - input_cost),
            },
            "rate_per_1m": rate_numbers(rates),
            "currency": "usd",
            "estimator": ESTIMATOR,
            **({"note": BYO_NOTE} if alias.own_key else {}),
        }
    )


def _named(low: int, expected: int, high: int) -> dict[str, int]:
    return {"low": low, "expected": expected, "high": high}


async def rates(http: HttpExchange, exchange: Exchange) -> None:
    """GET /v1/cost-preview/rates."""
    caller = exchange.known_caller
    own = await own_aliases(exchange.services, exchange.store, caller)
    await http.respond(200, exchange.services.rates_table.render(caller.tier, caller.frontier_addon, own))


async def models(http: HttpExchange, exchange: Exchange) -> None:
    """GET /v1/models."""
    caller = exchange.known_caller
    own = await own_aliases(exchange.services, exchange.store, caller)
    await http.respond(200, render_models(exchange.catalog, caller.tier, caller.frontier_addon, own))


async def one_model(http: HttpExchange, exchange: Exchange, model: str) -> None:
    """GET /v1/models/{id}."""
    alias = await _shown(exchange, model)
    await http.respond(200, orjson.dumps(model_object(exchange.catalog, model, alias)))

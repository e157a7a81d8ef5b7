"""The order of refusals: a request that breaks two rules is told of the one that stands first.

The order: path, method, key, frozen account, media type, size, shape of the body, unknown model, tier, what
depends on the model, no upstream, requests in flight, funds.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from answers import assert_refusal, untouched
from pictures import PNG
from world import Customer, World

HELLO = [{"role": "user", "content": "Hello!"}]
LOOK = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}]
CHAT, EMBED = "/chat/completions", "/embeddings"
NO_KEY, BAD_TYPE = {"Authorization": ""}, {"content-type": "text/plain"}
FROZEN, POOR, STARTER = {"frozen": True}, {"nano": 0}, {"tier": "starter"}
POOR_STARTER = {"nano": 0, "tier": "starter"}
TOO_LARGE = b"{" * 262_145
POINTLESS = frozenset({"retry-after", "x-should-retry"})


@dataclass(frozen=True)
class Both:
    """A request that breaks two rules, and what it is told."""

    status: int
    code: str
    body: Any = None
    path: str = CHAT
    method: str = "POST"
    account: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    also: frozenset[str] = frozenset()

    def ask(self, world: World, customer: Customer) -> httpx.Response:
        """Send it."""
        headers = {**customer.headers, "content-type": "application/json", **self.headers}
        raw = self.body if isinstance(self.body, bytes) else None
        sent = None if raw is not None else self.body
        return world.client.request(self.method, f"/v1{self.path}", headers=headers, content=raw, json=sent)


def chat(model: str, **fields: Any) -> dict[str, Any]:
    """A chat body."""
    return {"model": model, "messages": HELLO, **fields}


PAIRS = {
    "path before key": Both(404, "not_found", chat("x"), path="/responses", headers=NO_KEY),
    "path before method": Both(404, "not_found", None, path="/responses", method="DELETE"),
    "method before key": Both(
        405, "method_not_allowed", method="GET", headers=NO_KEY, also=frozenset({"allow"})
    ),
    "key before frozen": Both(
        401,
        "invalid_api_key",
        chat("x"),
        account=FROZEN,
        headers=NO_KEY,
        also=frozenset({"www-authenticate"}),
    ),
    "key before media type": Both(
        401, "invalid_api_key", b"x", headers=NO_KEY | BAD_TYPE, also=frozenset({"www-authenticate"})
    ),
    "frozen before media type": Both(403, "key_frozen", b"x", account=FROZEN, headers=BAD_TYPE),
    "frozen before size": Both(403, "key_frozen", TOO_LARGE, account=FROZEN),
    "media type before size": Both(415, "unsupported_media_type", TOO_LARGE, headers=BAD_TYPE),
    "media type before JSON": Both(415, "unsupported_media_type", b"{", headers=BAD_TYPE),
    "size before JSON": Both(413, "request_too_large", TOO_LARGE),
    "JSON before funds": Both(400, "invalid_request", b"{", account=POOR),
    "shape before unknown model": Both(400, "invalid_request", {"model": "no-such", "messages": []}),
    "unsupported before unknown model": Both(400, "unsupported_parameter", chat("no-such", api_key="x")),
    "n before unknown model": Both(400, "invalid_request", chat("no-such", n=2)),
    "shape before tier": Both(400, "invalid_request", chat("codestral", temperature="hot"), account=STARTER),
    "unknown model before funds": Both(404, "model_not_available", chat("no-such"), account=POOR),
    "unknown model before image": Both(404, "model_not_available", {"model": "no-such", "messages": LOOK}),
    "unknown model before kind": Both(
        404, "model_not_available", {"model": "no-such", "input": "a"}, path=EMBED, account=POOR
    ),
    "tier before kind": Both(
        403, "model_not_in_tier", {"model": "codestral", "input": "a"}, path=EMBED, account=STARTER
    ),
    "tier before image": Both(
        403, "model_not_in_tier", {"model": "codestral", "messages": LOOK}, account=STARTER
    ),
    "tier before logprobs": Both(
        403, "model_not_in_tier", chat("codestral", logprobs=True), account=POOR_STARTER
    ),
    "tier before no partner": Both(403, "model_not_in_tier", chat("consortium-qwen-235b"), account=STARTER),
    "tier before funds": Both(403, "model_not_in_tier", chat("codestral"), account=POOR_STARTER),
    "add-on before credits": Both(403, "model_not_in_tier", chat("gpt-5.5-frontier"), account=POOR),
    "kind before no partner": Both(
        400, "invalid_request", {"model": "consortium-llama-70b", "input": "a"}, path=EMBED
    ),
    "image before no partner": Both(
        400, "invalid_request", {"model": "consortium-llama-70b", "messages": LOOK}
    ),
    "image before funds": Both(
        400, "invalid_request", {"model": "codestral", "messages": LOOK}, account=POOR
    ),
    "logprobs before funds": Both(400, "invalid_request", chat("codestral", logprobs=True), account=POOR),
    "dimensions before funds": Both(
        400,
        "invalid_request",
        {"model": "bge-m3", "input": "a", "dimensions": 5},
        path=EMBED,
        account=POOR,
    ),
    "no partner before funds": Both(
        503,
        "no_consortium_machine_available",
        chat("consortium-llama-70b"),
        account=POOR,
        also=POINTLESS,
    ),
}


@pytest.mark.parametrize("both", PAIRS.values(), ids=PAIRS.keys())
def test_the_earlier_rule_answers(world: World, both: Both) -> None:
    """Of two broken rules the one that stands first in the order is told, and nothing is held or sent."""
    customer = world.customer(**both.account)

    with untouched(world, customer):
        response = both.ask(world, customer)

    assert_refusal(response, both.status, both.code, also=both.also)


def test_requests_in_flight_stand_between_upstreams_and_funds(world: World) -> None:
    """With 32 requests in flight and nothing left: 503 for a partner alias, 429 for what funds cannot pay."""
    # "Hello!" is 10 tokens to us and at most 525 upstream, at 200 nano-USD; the output is 8 tokens at 600.
    customer = world.customer(tier="demo", nano=32 * (525 * 200 + 8 * 600))
    world.control.post("/barrier/close")
    with ThreadPoolExecutor(32) as pool:
        waiting = [pool.submit(world.chat, customer, max_tokens=8) for _ in range(32)]
        world.control.get("/waiting", params={"at_least": 32})
        with untouched(world, customer):
            no_partner = world.chat(customer, model="consortium-llama-70b")
            in_flight = world.chat(customer, max_tokens=30_000)
            no_funds = world.chat(world.another_key(customer), max_tokens=30_000)
        world.control.post("/barrier/open")
        answers = [w.result() for w in waiting]

    assert_refusal(no_partner, 503, "no_consortium_machine_available", also=POINTLESS)
    assert_refusal(in_flight, 429, "rate_limited", also=frozenset({"retry-after"}))
    message = assert_refusal(no_funds, 402, "quota_exhausted")
    assert "0.0035136 USD held" in message
    assert [a.status_code for a in answers] == [200] * 32

"""API reference, "Errors": one row per refusal, to the letter; a refusal costs nothing and reaches nobody."""

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
RETRY_AFTER = frozenset({"retry-after"})
POINTLESS = frozenset({"retry-after", "x-should-retry"})


@dataclass(frozen=True)
class Row:
    """A request that is refused. `account` is given to `World.customer`."""

    status: int
    code: str
    path: str
    body: Any = None
    method: str = "POST"
    account: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    also: frozenset[str] = frozenset()
    says: str = ""

    def ask(self, world: World, customer: Customer) -> httpx.Response:
        """Send it."""
        headers = {**customer.headers, "content-type": "application/json", **self.headers}
        content = self.body if isinstance(self.body, bytes) else None
        sent = None if content is not None or self.body is None else self.body
        return world.client.request(
            self.method, f"/v1{self.path}", headers=headers, content=content, json=sent
        )


def chat(**fields: Any) -> dict[str, Any]:
    """A good chat body with some fields changed."""
    return {"model": "llama-3.3-70b", "messages": HELLO, **fields}


POOR, STARTER = {"nano": 0}, {"tier": "starter"}
CHAT, EMBED, PREVIEW = "/chat/completions", "/embeddings", "/cost-preview"
TEXT_PLAIN, GZIP = {"content-type": "text/plain"}, {"content-encoding": "gzip"}

ROWS = {
    "no key": Row(
        401,
        "invalid_api_key",
        CHAT,
        chat(),
        headers={"Authorization": ""},
        also=frozenset({"www-authenticate"}),
    ),
    "frozen account": Row(403, "key_frozen", CHAT, chat(), account={"frozen": True}),
    "frozen account, list": Row(403, "key_frozen", "/models", method="GET", account={"frozen": True}),
    "unknown path": Row(404, "not_found", "/completions", chat()),
    "wrong method": Row(
        405, "method_not_allowed", CHAT, method="GET", also=frozenset({"allow"}), says="POST"
    ),
    "text": Row(415, "unsupported_media_type", CHAT, chat(), headers=TEXT_PLAIN),
    "compressed": Row(415, "unsupported_media_type", EMBED, chat(), headers=GZIP),
    "too large": Row(413, "request_too_large", CHAT, b" " * 262_145, says="262144"),
    "too large a preview": Row(413, "request_too_large", PREVIEW, b" " * 16_385, says="16384"),
    "no JSON": Row(400, "invalid_request", CHAT, b'{"model"', says="JSON"),
    "no model": Row(400, "invalid_request", CHAT, {"messages": HELLO}, says="'model'"),
    "no messages": Row(400, "invalid_request", CHAT, {"model": "smart-route"}, says="'messages'"),
    "other shape": Row(
        400, "invalid_request", CHAT, {"model": "smart-route", "input": "Hi"}, says="'messages'"
    ),
    "no input": Row(400, "invalid_request", EMBED, {"model": "bge-m3"}, says="'input'"),
    "steering": Row(400, "unsupported_parameter", CHAT, chat(api_base="x"), says="'api_base'"),
    "unknown model": Row(404, "model_not_available", CHAT, chat(model="no-such"), says="'no-such'"),
    "unknown embedder": Row(404, "model_not_available", EMBED, {"model": "no-such", "input": "a"}),
    "unknown byo": Row(404, "model_not_available", CHAT, chat(model="byo-nothing")),
    "unknown in preview": Row(404, "model_not_found", PREVIEW, chat(model="no-such"), says="'no-such'"),
    "unknown in models": Row(404, "model_not_found", "/models/no-such", method="GET", says="'no-such'"),
    "tier": Row(
        403, "model_not_in_tier", CHAT, chat(model="qwen-coder"), account=STARTER, says="'qwen-coder'"
    ),
    "tier in preview": Row(403, "model_not_in_tier", PREVIEW, chat(model="codestral"), account=STARTER),
    "tier in models": Row(403, "model_not_in_tier", "/models/codestral", method="GET", account=STARTER),
    "no add-on": Row(403, "model_not_in_tier", CHAT, chat(model="gpt-5.5-frontier"), says="add-on"),
    "chat alias": Row(400, "invalid_request", EMBED, {"model": "codestral", "input": "a"}, says="chat model"),
    "embedder": Row(400, "invalid_request", CHAT, chat(model="bge-m3"), says="embedding model"),
    "image": Row(400, "invalid_request", CHAT, chat(messages=LOOK), says="images"),
    "dimensions": Row(
        400, "invalid_request", EMBED, {"model": "bge-m3", "input": "a", "dimensions": 9}, says="'dimensions'"
    ),
    "logprobs": Row(400, "invalid_request", CHAT, chat(model="codestral", logprobs=True), says="'logprobs'"),
    "no partner": Row(
        503, "no_consortium_machine_available", CHAT, chat(model="consortium-llama-70b"), also=POINTLESS
    ),
    "no funds": Row(402, "quota_exhausted", CHAT, chat(), account=POOR, says="Top up"),
    "no funds to embed": Row(402, "quota_exhausted", EMBED, {"model": "bge-m3", "input": "a"}, account=POOR),
    "cap": Row(402, "quota_exhausted", CHAT, chat(), account={"cap": 1}, says="cap"),
    "no credits": Row(
        402,
        "quota_exhausted",
        CHAT,
        chat(model="gpt-5.5-frontier"),
        account={"addon": True},
        says="Frontier Credits",
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_a_refusal_is_exact_and_has_no_effect(world: World, row: Row) -> None:
    """Status, envelope, code, type and headers are exact; nothing is held, charged or sent upstream."""
    customer = world.customer(**row.account)

    with untouched(world, customer):
        response = row.ask(world, customer)

    message = assert_refusal(response, row.status, row.code, also=row.also)
    assert row.says in message
    assert len(message) <= 400


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_a_refusal_of_a_stream_is_json_too(world: World, customer: Customer, stream: bool) -> None:
    """Before the first byte a refusal looks the same whether or not a stream was asked for."""
    response = world.chat(customer, model="no-such", stream=stream)

    assert_refusal(response, 404, "model_not_available")


def test_a_partner_alias_says_that_a_retry_is_pointless(world: World, customer: Customer) -> None:
    """503 no_consortium_machine_available carries Retry-After and x-should-retry: false."""
    response = world.chat(customer, model="consortium-llama-70b")

    assert response.headers["x-should-retry"] == "false"
    assert 1 <= int(response.headers["retry-after"]) <= 60


def test_the_402_says_what_is_needed_and_what_is_held(world: World) -> None:
    """The message names the need, what is available and what requests in flight hold, in USD."""
    response = world.chat(world.customer(nano=500), max_tokens=1000)

    # "Hello!" and its role are 3 tokens; 600 of 1,000 tokens are expected: 3 × 0.20 + 600 × 0.60 micro-USD.
    message = assert_refusal(response, 402, "quota_exhausted")
    assert "0.0003606 USD" in message
    assert "0.0000005 USD available" in message
    assert "0.00 USD held" in message


def test_the_33rd_request_in_flight_is_a_429(world: World) -> None:
    """A key has at most 32 open holds; the next request is refused with Retry-After, whatever it costs."""
    customer = world.customer(tier="demo")
    world.control.post("/barrier/close")
    with ThreadPoolExecutor(32) as pool:
        waiting = [pool.submit(world.chat, customer, max_tokens=8) for _ in range(32)]
        world.control.get("/waiting", params={"at_least": 32})
        with untouched(world, customer):
            refused = world.chat(customer, max_tokens=8)
            refused_embedding = world.post("/embeddings", {"model": "bge-m3", "input": "a"}, customer)
        other_key = world.another_key(customer)
        queued = pool.submit(world.chat, other_key, max_tokens=8)
        world.control.post("/barrier/open")
        answers = [w.result() for w in (*waiting, queued)]

    for response in (refused, refused_embedding):
        assert_refusal(response, 429, "rate_limited", also=RETRY_AFTER)
        assert response.headers["retry-after"] == "1"
    assert [a.status_code for a in answers] == [200] * 33


@pytest.mark.parametrize("name", ["api_key", "fallbacks", "mock_response", "extra_body"])
def test_null_is_the_same_as_absent(world: World, customer: Customer, name: str) -> None:
    """A refused name with the value null is not refused."""
    assert world.chat(customer, max_tokens=8, **{name: None}).status_code == 200


REFUSED = (
    "api_key api_base base_url extra_headers extra_body fallbacks mock_response num_retries "
    "custom_llm_provider model_list"
).split()


@pytest.mark.parametrize("path", [CHAT, EMBED])
def test_exactly_ten_names_are_refused(world: World, customer: Customer, path: str) -> None:
    """Each of the ten names is 400 unsupported_parameter and is named, on chat and on embeddings."""
    body = {"model": "bge-m3", "input": "a"} if path == EMBED else chat()
    assert len(REFUSED) == 10
    with untouched(world, customer):
        for name in REFUSED:
            message = assert_refusal(
                world.post(path, {**body, name: "x"}, customer), 400, "unsupported_parameter"
            )
            assert f"'{name}'" in message


def test_an_unforeseen_method_and_text_are_shown_safely(world: World, customer: Customer) -> None:
    """A caller's own text in a message is cut and has no control characters."""
    response = world.chat(customer, model="x" * 500 + "\u202e\n")

    message = assert_refusal(response, 404, "model_not_available")
    assert "x" * 81 not in message
    assert message.isprintable()

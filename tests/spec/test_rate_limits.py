"""API reference, "Rate limits": the published numbers, the headers of every answer, and who is refused when.

A bucket refills while a test runs, so a test that empties one goes on asking until it is refused, and bounds
what was let in by what time can have given.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import concealment
import httpx
import openai
import pytest
from answers import BEFORE_AUTHENTICATION, LIMIT_HEADERS, assert_refusal, error_of
from processes import shipped_config
from world import Customer, World

TIERS: dict[str, dict[str, Any]] = shipped_config()["llmdeal"]["tiers"]
HELLO = [{"role": "user", "content": "Hello!"}]
CHAT: dict[str, Any] = {"model": "llama-70b", "messages": HELLO, "max_tokens": 8}
RETRY_AFTER = frozenset({"retry-after"})
DURATION = re.compile(r"0s|[1-9]\d{0,2}ms|(?:[1-9]\d*m)?\d+(?:\.\d{1,3})?s")


def limits_of(response: httpx.Response) -> dict[str, str]:
    """The six headers by their short names; all of them, once each, well-formed."""
    names = [name.decode().lower() for name, _ in response.headers.raw]
    found = sorted(name for name in names if "ratelimit" in name)
    assert found == sorted(LIMIT_HEADERS), (response.status_code, found)
    values = {name.removeprefix("x-ratelimit-"): response.headers[name] for name in LIMIT_HEADERS}
    for of in ("requests", "tokens"):
        limit, remaining = values[f"limit-{of}"], values[f"remaining-{of}"]
        assert limit.isdecimal()
        assert remaining.isdecimal()
        assert int(remaining) <= int(limit)
        assert DURATION.fullmatch(values[f"reset-{of}"]), values
    return values


def until_refused(ask: Callable[[], httpx.Response], most: int = 100) -> list[httpx.Response]:
    """The answers up to and with the first 429."""
    answers = [ask()]
    while len(answers) < most and answers[-1].status_code != 429:
        answers.append(ask())
    assert answers[-1].status_code == 429, f"{most} requests were let in"
    return answers


@pytest.mark.parametrize("tier", ["starter", "free-trial", "founder"])
def test_the_published_burst_is_let_in_and_hardly_more(world: World, tier: str) -> None:
    """25 requests in a moment, on a free trial 250; then 429 with a Retry-After of a second."""
    customer, burst = world.customer(tier=tier), int(TIERS[tier]["burst"])
    began = time.monotonic()
    answers = until_refused(lambda: world.get("/models", customer), 4 * burst)
    let_in, seconds = len(answers) - 1, time.monotonic() - began
    first, last = limits_of(answers[0]), limits_of(answers[-1])

    assert {a.status_code for a in answers[:-1]} == {200}
    assert burst <= let_in <= burst + seconds * burst / 10
    assert_refusal(answers[-1], 429, "rate_limited", also=RETRY_AFTER)
    assert answers[-1].headers["retry-after"] == "1"
    assert (first["limit-requests"], first["remaining-requests"]) == (str(burst), str(burst - 1))
    assert last["remaining-requests"] == "0"
    assert first["limit-tokens"] == first["remaining-tokens"] == str(TIERS[tier]["tpm"])


def test_25_chat_completions_at_once_succeed(world: World) -> None:
    """The whole burst of a starter key in one moment."""
    customer = world.customer(tier="starter")
    with ThreadPoolExecutor(25) as pool:
        answers = list(pool.map(lambda _: world.chat(customer, max_tokens=8), range(25)))

    assert [a.status_code for a in answers] == [200] * 25


def test_the_published_numbers() -> None:
    """The shipped config gives a key 120 a minute and 25 in ten seconds, on a free trial ten times that."""
    buckets = {name: (tier["requests_per_minute"], tier["burst"]) for name, tier in TIERS.items()}

    assert buckets == {
        name: (1200, 250) if name in ("demo", "free-trial") else (120, 25)
        for name in ("free-trial", "starter", "pro", "founder", "charter", "demo")
    }


def test_a_refused_key_does_not_hinder_another(world: World) -> None:
    """Each key has buckets of its own, also two of one account."""
    spent = world.customer(tier="starter")
    other = world.another_key(spent)
    until_refused(lambda: world.get("/models", spent))

    assert limits_of(world.get("/models", other))["remaining-requests"] == "24"


ANSWERED: dict[str, tuple[int, str, str, Any, dict[str, Any]]] = {
    "chat": (200, "POST", "/chat/completions", CHAT, {}),
    "stream": (200, "POST", "/chat/completions", {**CHAT, "stream": True}, {}),
    "embeddings": (200, "POST", "/embeddings", {"model": "bge-m3", "input": "a"}, {}),
    "models": (200, "GET", "/models", None, {}),
    "one model": (200, "GET", "/models/llama-70b", None, {}),
    "rates": (200, "GET", "/cost-preview/rates", None, {}),
    "cost-preview": (200, "POST", "/cost-preview", CHAT, {}),
    "invalid": (400, "POST", "/chat/completions", {"model": "llama-70b"}, {}),
    "not JSON": (400, "POST", "/chat/completions", b"{", {}),
    "no money": (402, "POST", "/chat/completions", CHAT, {"nano": 0}),
    "not in the tier": (403, "POST", "/chat/completions", {**CHAT, "model": "codestral"}, {}),
    "frozen": (403, "POST", "/chat/completions", CHAT, {"frozen": True}),
    "no such model": (404, "POST", "/chat/completions", {**CHAT, "model": "no-such"}, {}),
    "no such one model": (404, "GET", "/models/no-such", None, {}),
    "too large": (413, "POST", "/chat/completions", b"{" * 262_145, {}),
    "text": (415, "POST", "/chat/completions", b"text", {}),
}


def sent(world: World, customer: Customer, case: str) -> httpx.Response:
    """A request of the table."""
    _, method, path, body, _ = ANSWERED[case]
    kind = "text/plain" if case == "text" else "application/json"
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    headers = {**customer.headers, "content-type": kind}
    return world.client.request(method, f"/v1{path}", content=content, headers=headers)


@pytest.mark.parametrize("case", ANSWERED)
def test_every_answer_to_a_known_key_carries_the_limits(world: World, case: str) -> None:
    """One request is gone from 25, none for a frozen account; tokens are gone where they are spent."""
    status, _, _, _, account = ANSWERED[case]
    customer = world.customer(tier="starter", **account)

    response = sent(world, customer, case)

    assert response.status_code == status
    found = limits_of(response)
    tokens, left = int(found["limit-tokens"]), int(found["remaining-tokens"])
    assert (found["limit-requests"], tokens) == ("25", TIERS["starter"]["tpm"])
    assert found["remaining-requests"] == ("25" if case == "frozen" else "24")
    # What is billed is a few tokens, and thousands come back each second; a stream shows its reservation.
    assert left < tokens if case == "stream" else tokens - 100 < left <= tokens


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("POST", "/v1/chat/completions", "invalid_api_key"),
        ("GET", "/v1/models", "invalid_api_key"),
        ("GET", "/v1/nothing", "not_found"),
        ("DELETE", "/v1/models", "method_not_allowed"),
    ],
)
def test_who_is_not_known_is_told_no_limits(world: World, method: str, path: str, code: str) -> None:
    """Refusals before a key is known: no header of this kind, with a key that nobody has."""
    response = world.client.request(method, path, headers={"Authorization": f"Bearer lld_{'0' * 32}"})

    assert error_of(response)["code"] == code
    assert code in BEFORE_AUTHENTICATION
    assert not [name for name in response.headers if "ratelimit" in name or name == "retry-after"]


def test_paths_and_methods_are_told_no_limits_and_take_nothing(world: World) -> None:
    """A known key on an unknown path, with a wrong method, or asking what is allowed."""
    customer = world.customer(tier="starter")
    for method, path in (("GET", "/v1/nothing"), ("DELETE", "/v1/models"), ("OPTIONS", "/v1/models")):
        response = world.client.request(method, path, headers=customer.headers)
        assert not [name for name in response.headers if "ratelimit" in name]

    assert limits_of(world.get("/models", customer))["remaining-requests"] == "24"


def test_an_upstreams_limits_are_not_shown(world: World) -> None:
    """On success and on its 429 the numbers are the key's own, and Retry-After is within its bounds."""
    customer = world.customer(tier="starter")
    theirs = {
        f"x-ratelimit-{n}-{of}": "77777" for n in ("limit", "remaining") for of in ("requests", "tokens")
    }
    for status, code in ((429, 429), (500, 502)):
        world.script("status", status=status, headers={**theirs, "retry-after": "7"})
        response = world.chat(customer, max_tokens=8)
        assert response.status_code == code
        assert "77777" not in limits_of(response).values()
        assert response.headers.get("retry-after") == ("7" if status == 429 else None)


@pytest.mark.parametrize(
    "case", ["text", "too large", "not JSON", "no such model", "not in the tier", "no money"]
)
def test_a_spent_key_is_refused_whatever_it_asks(world: World, case: str) -> None:
    """As long as there are requests left the answer is that of the case; then it is 429."""
    status, _, _, _, account = ANSWERED[case]
    customer = world.customer(tier="starter", **account)

    *before, refused = until_refused(lambda: sent(world, customer, case))

    assert len(before) >= 25
    assert {answer.status_code for answer in before} == {status}
    assert_refusal(refused, 429, "rate_limited", also=RETRY_AFTER)


def test_paths_keys_and_frozen_accounts_stand_before_the_limit(world: World) -> None:
    """Asked more often than any bucket holds, they are never a 429, and take nothing."""
    frozen, known = world.customer(tier="starter", frozen=True), world.customer(tier="starter")
    asked = {
        403: lambda: world.get("/models", frozen),
        404: lambda: world.get("/nothing", known),
        405: lambda: world.get("/chat/completions", known),
        401: lambda: world.get("/models"),
    }
    for status, ask in asked.items():
        assert {ask().status_code for _ in range(40)} == {status}

    assert limits_of(world.get("/models", frozen))["remaining-requests"] == "25"
    assert limits_of(world.get("/models", known))["remaining-requests"] == "24"


async def test_the_limit_answers_before_the_body_is_there(world: World) -> None:
    """Sixty heads of POSTs and no byte of a body: those above the burst are answered with 429."""
    customer = world.customer(tier="starter")
    fields = {
        "Host": "gateway",
        "Content-Type": "application/json",
        "Content-Length": "9",
        **customer.headers,
    }
    lines = ["POST /v1/chat/completions HTTP/1.1", *(f"{n}: {v}" for n, v in fields.items()), "", ""]

    async def answer_to_a_head() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.gateway.port)
        try:
            writer.write("\r\n".join(lines).encode())
            return await reader.readuntil(b"\r\n\r\n")
        finally:
            writer.close()

    asked = [asyncio.create_task(answer_to_a_head()) for _ in range(60)]
    answers = [await answer for answer in islice(asyncio.as_completed(asked), 20)]
    for task in asked:
        task.cancel()
    await asyncio.wait(asked)

    for head in answers:
        assert head.startswith(b"HTTP/1.1 429 ")
        names = {line.partition(b":")[0].decode().lower() for line in head.split(b"\r\n")[1:]}
        assert names >= LIMIT_HEADERS | RETRY_AFTER


def test_a_refused_request_holds_and_sends_nothing(world: World) -> None:
    """Records and upstream calls are those of the requests that were let in."""
    customer = world.customer(tier="starter")
    before = world.upstream_count()

    *let_in, _ = until_refused(lambda: world.chat(customer, max_tokens=8))

    assert {answer.status_code for answer in let_in} == {200}
    assert world.upstream_count() - before == len(let_in)
    world.settled(customer)
    holds = {r["request_id"] for r in world.records(customer) if r["kind"] in ("post", "void")}
    assert holds == {answer.headers["x-llmdeal-request-id"] for answer in let_in}


def sdk(world: World, customer: Customer, retries: int) -> openai.OpenAI:
    """The SDK of a customer, its answers watched."""
    watched = httpx.Client(event_hooks={"response": [concealment.watch]})
    options: Any = {"api_key": customer.key, "base_url": world.base_url, "http_client": watched}
    return openai.OpenAI(max_retries=retries, **options)


def list_models_often(client: openai.OpenAI) -> int:
    """A hundred requests, or up to the first that the SDK has to try again; returns how often it did."""
    for _ in range(100):
        answer = client.models.with_raw_response.list()
        if answer.retries_taken:
            return answer.retries_taken
    return 0


def test_the_sdk_waits_as_told_and_succeeds(world: World) -> None:
    """openai with one retry: after a 429 of the limiter it waits out Retry-After, a second, and is let in."""
    customer = world.customer(tier="starter")
    with sdk(world, customer, retries=1) as client:
        assert list_models_often(client) == 1


def test_the_sdk_names_the_refusal(world: World) -> None:
    """Without retries it is its RateLimitError, with our code and Retry-After."""
    customer = world.customer(tier="starter")
    with sdk(world, customer, retries=0) as client, pytest.raises(openai.RateLimitError) as refused:
        list_models_often(client)

    assert refused.value.code == "rate_limited"
    assert refused.value.response.headers["retry-after"] == "1"

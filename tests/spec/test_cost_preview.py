"""API reference, "POST /v1/cost-preview": the arithmetic of its example, and what it never does."""

from typing import Any

import pytest
from answers import PLAIN_ANSWER, assert_refusal, header_names, untouched
from world import Customer, World

RAFT = [{"role": "user", "content": "Explain Raft consensus in 200 words."}]


def preview(world: World, customer: Customer, **fields: Any) -> dict[str, Any]:
    """The body of a good answer."""
    response = world.post("/cost-preview", {"model": "smart-route", "messages": RAFT, **fields}, customer)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_the_references_example_is_answered_to_the_letter(world: World, customer: Customer) -> None:
    """The example's request has the example's answer: every value and the order of the keys."""
    body = {"model": "smart-route", "messages": RAFT, "max_tokens": 300}
    with untouched(world, customer):
        response = world.post("/cost-preview", body, customer)

    expected = {
        "ok": True,
        "model": "smart-route",
        "input_tokens": 11,
        "est_output_tokens": {"low": 60, "expected": 180, "high": 300},
        "est_cost_usd": {"low": 0.0000573, "expected": 0.0001653, "high": 0.0002733},
        "breakdown": {"input_usd": 0.0000033, "output_usd": 0.000162},
        "rate_per_1m": {"input": 0.30, "output": 0.90},
        "currency": "usd",
        "estimator": "tiktoken-cl100k-base",
    }
    assert response.json() == expected
    assert list(response.json()) == list(expected)
    assert header_names(response) == sorted(PLAIN_ANSWER)


@pytest.mark.parametrize(
    ("limit", "bands"),
    [
        (1, (1, 1, 1)),
        (2, (1, 2, 2)),
        (3, (1, 2, 3)),
        (5, (1, 3, 5)),
        (7, (2, 5, 7)),
        (100, (20, 60, 100)),
        (101, (21, 61, 101)),
        (10**9, (200_000_000, 600_000_000, 10**9)),
    ],
)
def test_with_max_tokens_the_high_band_is_the_limit(
    world: World, customer: Customer, limit: int, bands: tuple[int, int, int]
) -> None:
    """20 % and 60 % of the limit, rounded up, and the limit itself."""
    found = preview(world, customer, max_tokens=limit)["est_output_tokens"]

    assert (found["low"], found["expected"], found["high"]) == bands


@pytest.mark.parametrize(("words", "high"), [(1, 4), (100, 202), (2047, 4096), (2048, 4096), (5000, 4096)])
def test_without_max_tokens_the_high_band_is_twice_the_input(
    world: World, customer: Customer, words: int, high: int
) -> None:
    """min(4096, 2 × input), and the same shares of it. The role counts one token, each " a" one."""
    found = preview(world, customer, messages=[{"role": "user", "content": " a" * words}])

    assert found["input_tokens"] == words + 1
    bands = found["est_output_tokens"]
    assert bands == {"low": -(-high // 5), "expected": -(-high * 3 // 5), "high": high}


def test_special_tokens_are_just_text(world: World, customer: Customer) -> None:
    """The text of a special token is counted as the text it is."""
    found = preview(world, customer, messages=[{"role": "user", "content": "<|endoftext|>"}])

    assert found["input_tokens"] == 8


def test_every_message_counts_with_its_role(world: World, customer: Customer) -> None:
    """Tokens of role and content, summed over all messages; parts count their text."""
    parts = [{"type": "text", "text": "Explain Raft"}, {"type": "text", "text": " consensus in 200 words."}]
    messages = [{"role": "system", "content": ""}, *RAFT, {"role": "user", "content": parts}]

    assert preview(world, customer, messages=messages)["input_tokens"] == 1 + 11 + 11


def test_only_three_fields_are_read(world: World, customer: Customer) -> None:
    """Inference-only fields, right or wrong, change nothing."""
    ignored = {
        "stream": "yes",
        "temperature": "hot",
        "max_completion_tokens": 5,
        "tools": "x",
        "n": 7,
        "api_key": "x",
        "response_format": 1,
    }

    assert preview(world, customer, **ignored) == preview(world, customer)


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "unknown model": ({"model": "no-such"}, 404, "model_not_found"),
    "unknown byo": ({"model": "byo-openai-gpt-4o"}, 404, "model_not_found"),
    "tier": ({"model": "codestral"}, 403, "model_not_in_tier"),
    "add-on": ({"model": "gpt-5.5-frontier"}, 403, "model_not_in_tier"),
    "embeddings": ({"model": "bge-m3"}, 400, "invalid_request"),
    "no model": ({"model": None}, 400, "invalid_request"),
    "no messages": ({"messages": []}, 400, "invalid_request"),
    "limit of another kind": ({"max_tokens": 1.5}, 400, "invalid_request"),
    "no limit": ({"max_tokens": 0}, 400, "invalid_request"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(world: World, case: str) -> None:
    """An unknown model is model_not_found here; tier and shape are refused as on chat."""
    fields, status, code = REFUSED[case]
    customer = world.customer(tier="starter")

    with untouched(world, customer):
        response = world.post("/cost-preview", {"model": "smart-route", "messages": RAFT, **fields}, customer)

    assert_refusal(response, status, code)


@pytest.mark.parametrize("model", ["smart-route", "consortium-llama-70b", "llama-70b"])
def test_it_needs_neither_money_nor_an_upstream(world: World, model: str) -> None:
    """Never 402 and never 503: an empty balance and an alias that nobody serves are previewed."""
    customer = world.customer(nano=0)
    with untouched(world, customer):
        assert preview(world, customer, model=model)["model"] == model


def test_a_frontier_alias_is_previewed_at_retail(world: World) -> None:
    """With the add-on; the vendor's retail rate of the price table: 5 and 30 USD per 1M for GPT-5.5."""
    customer = world.customer(nano=0, addon=True)

    found = preview(world, customer, model="gpt-5.5-frontier", max_tokens=100)

    assert found["rate_per_1m"] == {"input": 5.0, "output": 30.0}
    assert found["est_cost_usd"]["high"] == 0.003055


def test_the_cap_is_16_kib(world: World, customer: Customer) -> None:
    """A body of 16,384 bytes is read, one of 16,385 is 413."""
    head, tail = b'{"model":"smart-route","messages":[{"role":"user","content":"', b'"}]}'
    headers = {**customer.headers, "content-type": "application/json"}
    for size, status in ((16_384, 200), (16_385, 413)):
        body = head + b"x" * (size - len(head) - len(tail)) + tail
        assert world.client.post("/v1/cost-preview", content=body, headers=headers).status_code == status

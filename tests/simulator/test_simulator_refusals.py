"""Every row of the refusal tables is answered as it says, in the provider's own shape."""

from typing import Any

import pytest
from simulator_process import Simulator

from llmdeal_litellm.simulator.refusals import TABLE
from llmdeal_litellm.simulator.refusals.rules import Refusal

ROWS = [
    pytest.param(provider, row, example, id=f"{provider}: {row.name} {number}")
    for provider, rows in TABLE.items()
    for row in rows
    for number, example in enumerate(row.examples)
]
SHAPES: dict[str, tuple[str, ...]] = {
    "openai": ("error", "message"),
    "groq": ("error", "message"),
    "mistral": ("message",),
    "cerebras": ("message",),
    "anthropic": ("error", "message"),
    "gemini": ("error", "message"),
}


@pytest.mark.parametrize(("provider", "row", "example"), ROWS)
def test_a_refused_parameter_is_refused(
    simulator: Simulator, provider: str, row: Refusal, example: dict[str, Any]
) -> None:
    response = simulator.send(provider, row.endpoint, **example)
    assert response.status_code == row.status, response.text
    # The fixed words of the row's message, around the values that were filled in.
    shown = response.text.replace('\\"', '"').replace("\\n", "\n")
    for words in _fixed(row.message):
        assert words in shown
    body = response.json()
    for key in SHAPES.get(provider, ()):
        assert key in body
        body = body[key]


def _fixed(message: str) -> list[str]:
    parts = message.replace("{{", "\0").replace("}}", "\1").replace("}", "{").split("{")[::2]
    return [part.replace("\0", "{").replace("\1", "}") for part in parts]


def test_every_row_cites_where_it_is_from_and_has_an_example() -> None:
    rows = [row for table in TABLE.values() for row in table]
    assert all(row.source and row.examples for row in rows)
    for table in TABLE.values():
        names = [row.name for row in table]
        assert len(names) == len(set(names))


ACCEPTED: dict[str, dict[str, Any]] = {
    "openai": {
        "max_completion_tokens": 9,
        "seed": 1,
        "frequency_penalty": 0.1,
        "logprobs": True,
        "top_logprobs": 2,
    },
    "groq": {"max_completion_tokens": 9, "seed": 1, "frequency_penalty": 0.1, "stop": ["x"], "n": 1},
    "mistral": {"max_tokens": 9, "random_seed": 1, "frequency_penalty": 0.1, "stop": ["x"]},
    "cerebras": {"max_completion_tokens": 9, "seed": 1, "stop": "x", "logprobs": True},
    "nvidia_nim": {"max_tokens": 9, "seed": 1, "frequency_penalty": 0.1, "stop": ["x"]},
    "generic": {"max_tokens": 9, "seed": 1, "logit_bias": {"1": 1}, "user": "ann", "store": False, "n": 1},
}


@pytest.mark.parametrize("provider", list(ACCEPTED))
def test_what_a_provider_takes_is_taken(simulator: Simulator, provider: str) -> None:
    assert simulator.chat(provider, **ACCEPTED[provider]).status_code == 200


@pytest.mark.parametrize("provider", list(ACCEPTED))
def test_without_a_key_and_off_the_path(simulator: Simulator, provider: str) -> None:
    path = f"/{provider}/v1/chat/completions"
    keyless = simulator.client.post(path, json={}, headers={"Authorization": "Basic x"})
    lost = simulator.client.post(f"/{provider}/v1/nothing", json={})
    assert (keyless.status_code, lost.status_code) == (401, 404)
    assert isinstance(keyless.json(), dict)
    assert isinstance(lost.json(), dict)


@pytest.mark.parametrize("provider", ["groq", "cerebras"])
def test_some_have_no_embeddings(simulator: Simulator, provider: str) -> None:
    assert simulator.embed(provider).status_code == 404


@pytest.mark.parametrize("provider", list(ACCEPTED))
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'{"model": "m"}',
        b'{"model": "m", "messages": []}',
        b'{"model": "m", "messages": [{"role": "user", "content": "x", "tool_calls": 7}], "tools": 7}',
    ],
)
def test_a_broken_body_is_the_callers_mistake(simulator: Simulator, provider: str, raw: bytes) -> None:
    response = simulator.client.post(f"/{provider}/v1/chat/completions", content=raw)
    assert response.status_code in (400, 422)

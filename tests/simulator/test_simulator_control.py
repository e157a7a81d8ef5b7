"""The control surface: what was asked is on record, and scripts make the next answers go wrong."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from simulator_process import OPENAI_WIRES, Simulator


def read_stream(simulator: Simulator, provider: str = "groq", **fields: Any) -> tuple[list[str], bool]:
    """The data of a streamed answer, and whether the connection broke before its end."""
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "stream": True, **fields}
    found: list[str] = []
    try:
        with simulator.client.stream("POST", f"/{provider}/v1/chat/completions", json=body) as response:
            for line in response.iter_lines():
                if line.startswith("data: "):
                    found.append(line.removeprefix("data: "))
    except httpx.RemoteProtocolError:
        return found, True
    return found, False


def test_requests_are_on_record(simulator: Simulator) -> None:
    before = simulator.get("count")["count"]
    simulator.client.post("/mistral/v1/chat/completions", json={"model": "a"}, headers={"X-Test": "yes"})
    simulator.client.post("/groq/v1/embeddings?x=1", content=b"not json")
    records = simulator.get("requests")
    assert records["count"] == before + 2
    first, second = records["requests"]
    assert second["sha256"] == hashlib.sha256(b"not json").hexdigest()
    assert (first["path"], first["provider"], first["body"]) == (
        "/mistral/v1/chat/completions",
        "mistral",
        {"model": "a"},
    )
    assert ["X-Test", "yes"] in first["headers"]
    assert (second["body"], second["query"], second["seq"]) == ("not json", "x=1", first["seq"] + 1)
    assert len(simulator.get("requests", since=first["seq"])["requests"]) == 1
    assert len(simulator.get("requests", last=1)["requests"]) == 1
    simulator.client.delete("/control/requests")
    assert simulator.get("requests")["requests"] == []


def test_the_barrier_holds_requests_after_they_are_recorded(simulator: Simulator) -> None:
    simulator.client.post("/control/barrier/close")
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(simulator.chat, "groq", f"number {n}") for n in range(3)]
        assert simulator.get("waiting", at_least=3) == {"waiting": 3, "reached": True, "closed": True}
        assert simulator.get("open")["open"] == 3
        assert len(simulator.get("requests")["requests"]) == 3
        assert not any(answer.done() for answer in answers)
        simulator.client.post("/control/barrier/open")
        assert [answer.result().status_code for answer in answers] == [200, 200, 200]
    assert simulator.get("open", at_most=0)["open"] == 0


def test_waiting_for_a_number_that_does_not_come_ends(simulator: Simulator) -> None:
    response = simulator.client.get("/control/waiting", params={"at_least": 1, "timeout_s": 0})
    assert response.status_code == 408
    assert response.json()["reached"] is False


@pytest.mark.parametrize(
    "usage", [{"prompt_tokens": -5}, {"total_tokens": 1.5}, "lies", [1], {"prompt_tokens": "9"}]
)
def test_usage_is_what_the_script_says(simulator: Simulator, usage: Any) -> None:
    simulator.script("usage", usage=usage, provider="groq", times=2)
    assert simulator.chat("groq").json()["usage"] == usage
    streamed, _ = read_stream(simulator)
    assert [json.loads(d)["usage"] for d in streamed[:-1] if "usage" in json.loads(d)] == [usage]
    assert simulator.chat("groq").json()["usage"] != usage


def test_no_usage(simulator: Simulator) -> None:
    simulator.script("no_usage", times=2)
    assert "usage" not in simulator.chat("mistral").json()
    streamed, _ = read_stream(simulator, "mistral")
    assert not any("usage" in data for data in streamed)


def test_a_cut_stream_breaks_after_some_content(simulator: Simulator) -> None:
    simulator.script("cut", after_chunks=3)
    data, broken = read_stream(simulator)
    assert broken
    assert len(data) == 3
    assert "[DONE]" not in data
    assert simulator.get("hangups")["hangups"] == 0


def test_a_cut_before_the_first_event_and_in_a_plain_body(simulator: Simulator) -> None:
    simulator.script("cut", after_chunks=0)
    assert read_stream(simulator) == ([], True)
    simulator.script("cut")
    with pytest.raises(httpx.RemoteProtocolError):
        simulator.chat("groq")


def test_a_clean_end_has_no_finish_reason_and_no_done(simulator: Simulator) -> None:
    simulator.script("clean_end")
    data, broken = read_stream(simulator)
    assert not broken
    assert "[DONE]" not in data
    assert {json.loads(d)["choices"][0]["finish_reason"] for d in data} == {None}


def test_an_empty_answer(simulator: Simulator) -> None:
    simulator.script("empty")
    body = simulator.chat("openai").json()
    assert (body["choices"][0]["message"]["content"], body["choices"][0]["finish_reason"]) == ("", "stop")
    assert body["usage"]["completion_tokens"] == body["usage"]["prompt_tokens"] == 0


@pytest.mark.parametrize("provider", [*OPENAI_WIRES, "gemini", "anthropic"])
def test_a_status_comes_with_headers_and_canaries(simulator: Simulator, provider: str) -> None:
    simulator.script("status", status=429, headers={"Retry-After": "7"}, provider=provider)
    response = simulator.send(provider, "chat")
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert "canary-error-message" in response.text
    assert simulator.send(provider, "chat").status_code == 200


def test_html_and_errors_with_status_200(simulator: Simulator) -> None:
    simulator.script("html")
    response = simulator.chat("groq")
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    simulator.script("error_200", times=2)
    assert "error" in simulator.chat("groq").json()
    data, broken = read_stream(simulator)
    assert not broken
    assert len(data) == 1
    assert "canary-error-message" in data[0]


def test_length_ends_at_the_limit(simulator: Simulator) -> None:
    simulator.script("length")
    body = simulator.chat("groq", max_completion_tokens=11).json()
    assert (body["choices"][0]["finish_reason"], body["usage"]["completion_tokens"]) == ("length", 11)


def test_a_hang_ends_when_the_client_leaves(simulator: Simulator) -> None:
    simulator.script("hang")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{simulator.url}/groq/v1/chat/completions",
            json={"model": "m", "messages": [{"role": "user", "content": "x"}]},
            headers={"Authorization": "Bearer k"},
            timeout=0.3,
        )
    assert simulator.get("hangups", at_least=1)["hangups"] == 1
    assert simulator.get("open", at_most=0)["open"] == 0


def test_a_client_that_leaves_a_slow_stream_is_counted(simulator: Simulator) -> None:
    simulator.script("slow", delay_ms=200)
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}
    with simulator.client.stream("POST", "/groq/v1/chat/completions", json=body) as response:
        next(response.iter_lines())
    assert simulator.get("hangups", at_least=1)["hangups"] == 1


def test_scripts_apply_in_order_and_where_they_belong(simulator: Simulator) -> None:
    simulator.script("status", status=500, provider="groq", times=2)
    simulator.script("status", status=503, model="special", times=None)
    assert [simulator.chat(p).status_code for p in ("mistral", "groq", "groq", "groq")] == [
        200,
        500,
        500,
        200,
    ]
    assert simulator.chat("openai", model="special-model").status_code == 503
    simulator.client.delete("/control/script")
    assert simulator.chat("openai", model="special-model").status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        [],
        {"behaviour": "nonsense"},
        {"behaviour": "cut", "provider": "nobody"},
        {"behaviour": "cut", "times": 0},
        {"behaviour": "slow", "delay_ms": 10**9},
        {"behaviour": "cut", "unknown": 1},
    ],
)
def test_a_wrong_script_is_refused(simulator: Simulator, wrong: Any) -> None:
    assert simulator.client.post("/control/script", json=wrong).status_code == 400

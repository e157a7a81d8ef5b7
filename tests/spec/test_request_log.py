"""One structured line a request in the gateway's own log, and no prompt, raw key or upstream secret."""

import json
import re
from typing import Any

import pytest
from processes import GatewayProcess, llmdeal, until
from world import Customer, World

LINE = re.compile(r" INFO llmdeal\.request (\{.*\})$", re.MULTILINE)
ALWAYS = {"request", "path", "key", "status", "code", "ms"}
SERVED = ALWAYS | frozenset(
    "alias served_by attempts upstream_ms ours_ms first_output_ms rule billed claimed charge_nano_usd".split()
)
SECRET_PROMPT = "the-prompt-nobody-logs-5f1e"


def line_of(gateway: GatewayProcess, request_id: str) -> dict[str, Any]:
    """The line of a request, once it is written."""

    def found() -> dict[str, Any] | None:
        lines = [json.loads(text) for text in LINE.findall(gateway.log)]
        return next((line for line in lines if line["request"] == request_id), None)

    line: dict[str, Any] = until(found, what=f"the log line of {request_id}")
    return line


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_a_served_request_has_its_line(world: World, customer: Customer, stream: bool) -> None:
    """Who, what, served by whom, attempts, tokens billed and claimed, charge, and the times apart."""
    response = world.chat(customer, "say 30 words", stream=stream, model="smart-route")
    line = line_of(world.gateway, response.headers["x-llmdeal-request-id"])
    end = world.last_end(customer)

    assert set(line) == SERVED
    assert (line["path"], line["key"], line["status"]) == ("/v1/chat/completions", customer.key_id, 200)
    assert (line["alias"], line["served_by"], line["attempts"]) == ("smart-route", "llama-3.3-70b", 1)
    assert line["billed"] == [end["input_tokens"], end["output_tokens"]]
    assert line["claimed"] == [end["claimed_input"], end["claimed_output"]]
    assert line["charge_nano_usd"] == -end["balance_change"]
    assert line["rule"] == end["rule"] == "completed"
    assert line["ms"] == pytest.approx(line["ours_ms"] + line["upstream_ms"], abs=0.2)
    assert 0 < line["first_output_ms"] <= line["ms"]


def test_a_refused_request_has_a_short_line(world: World, customer: Customer) -> None:
    """Nothing was held, so nothing is said of it; without a known key there is none."""
    response = world.chat(customer, model="no-such-model")
    line = line_of(world.gateway, response.headers["x-llmdeal-request-id"])
    assert set(line) == ALWAYS
    assert (line["status"], line["code"], line["key"]) == (404, "model_not_available", customer.key_id)

    unknown = world.get("/models")
    line = line_of(world.gateway, unknown.headers["x-llmdeal-request-id"])
    assert (line["status"], line["code"], line["key"]) == (401, "invalid_api_key", None)


def test_an_odd_path_is_not_logged(world: World) -> None:
    """What a caller writes into a path stays out of the log."""
    response = world.client.get("/v1/a-path-nobody-logs-77")

    assert line_of(world.gateway, response.headers["x-llmdeal-request-id"])["path"] == "other"
    assert "nobody-logs-77" not in world.gateway.log


def test_no_prompt_key_or_secret_is_logged(world: World, customer: Customer) -> None:
    """After answers, refusals, failures of upstreams in their own words, and hang-ups."""
    world.chat(customer, SECRET_PROMPT)
    world.chat(customer, SECRET_PROMPT, stream=True)
    world.chat(customer, SECRET_PROMPT, temperature="hot")
    for script in ({"behaviour": "status", "status": 500}, {"behaviour": "error_200"}, {"behaviour": "html"}):
        world.script(**script)
        world.chat(customer, SECRET_PROMPT)
    world.post("/chat/completions", {"model": SECRET_PROMPT, "messages": SECRET_PROMPT}, customer)
    last = world.chat(customer, "Hello!")
    line_of(world.gateway, last.headers["x-llmdeal-request-id"])

    log = world.gateway.log
    assert SECRET_PROMPT not in log
    assert customer.key not in log
    assert "upstream-secret" not in log
    assert "canary" not in log
    assert not re.search(r"lld_[0-9a-f]{32}", log)


def test_the_operator_sees_every_deployment(world: World) -> None:
    """`llmdeal health` reads what the running gateway says of its deployments."""
    shown = llmdeal(world.gateway.folder, "health", allowed=(0, 1))

    deployments = {d["deployment"]: d for d in shown["deployments"]}
    assert shown["running"] is True
    assert len(deployments) == 16
    assert set(deployments["codestral"]) == {"deployment", "state", "since", "why"}
    assert deployments["codestral"]["state"] in ("closed", "cooling", "open")

"""Faults: an address asks for one, or the control port plans one; each is what its name says."""

import gzip
import json
import re
from typing import Any

import httpx
import pytest
from simulator_process import ANTHROPIC_HEADERS, GEMINI_HEADERS, Simulator, events_of

from llmdeal_litellm.simulator.faults import __doc__ as TOLD
from llmdeal_litellm.simulator.faults.table import FAULTS

WIRES = ("groq", "anthropic", "gemini")
SAID = "say 12 words"
BREAKS_HTTP = frozenset(
    "cut_before_headers cut_mid_headers cut_mid_body cut_mid_stream length_short length_long".split()
)
HANGS = frozenset({"slow_first_byte", "hang_mid_stream"})
EVERY_WAY = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
EVERY_WIRE = pytest.mark.parametrize("provider", WIRES)


def send(
    simulator: Simulator, provider: str, fault: str | None, *, stream: bool = False, **fields: Any
) -> httpx.Response:
    """A question to a provider at the address of a fault."""
    part = f"/fault/{fault}" if fault else ""
    if provider == "gemini":
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        body = {"contents": [{"role": "user", "parts": [{"text": SAID}]}], **fields}
        path = f"/gemini{part}/v1beta/models/gemini-some:{method}"
        return simulator.client.post(path, json=body, headers=GEMINI_HEADERS)
    messages = [{"role": "user", "content": SAID}]
    body = {"model": "claude-some", "max_tokens": 500, "messages": messages, **fields}
    body |= {"stream": True} if stream else {}
    path = "/anthropic{}/v1/messages" if provider == "anthropic" else f"/{provider}/v1{{}}/chat/completions"
    return simulator.client.post(path.format(part), json=body, headers=ANTHROPIC_HEADERS)


@EVERY_WAY
@EVERY_WIRE
@pytest.mark.parametrize("fault", sorted({*FAULTS} - BREAKS_HTTP - HANGS - {"drip"}))
def test_every_fault_is_http_all_the_same(
    simulator: Simulator, provider: str, fault: str, stream: bool
) -> None:
    response = send(simulator, provider, fault, stream=stream)
    expected = int(fault.split("_")[1]) if fault.startswith(("status_", "redirect_")) else 200
    assert response.status_code == (500 if fault == "canary_error" else expected)


@EVERY_WAY
@EVERY_WIRE
@pytest.mark.parametrize("fault", sorted(BREAKS_HTTP - {"length_short"}))
def test_what_breaks_breaks(simulator: Simulator, provider: str, fault: str, stream: bool) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        send(simulator, provider, fault, stream=stream)
    assert simulator.get("hangups")["hangups"] == 0
    assert simulator.get("open", at_most=0)["open"] == 0


@EVERY_WIRE
def test_a_length_that_is_too_short_cuts_the_body(simulator: Simulator, provider: str) -> None:
    response = send(simulator, provider, "length_short")
    assert len(response.content) == int(response.headers["content-length"])
    with pytest.raises(json.JSONDecodeError):
        json.loads(response.content)


@EVERY_WAY
@pytest.mark.parametrize("fault", sorted(HANGS))
def test_what_hangs_waits_for_the_client(simulator: Simulator, fault: str, stream: bool) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": SAID}], "stream": stream}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{simulator.url}/groq/v1/fault/{fault}/chat/completions",
            json=body,
            headers={"Authorization": "Bearer k"},
            timeout=0.2,
        )
    assert simulator.get("hangups", at_least=1)["hangups"] == 1


@EVERY_WIRE
def test_the_first_is_counted_for_each_address(simulator: Simulator, provider: str) -> None:
    for label in ("a", "b"):
        fault = f"status_503,first,row={label}"
        assert [send(simulator, provider, fault).status_code for _ in range(3)] == [503, 200, 200]
    assert send(simulator, provider, "status_503").status_code == 503
    simulator.client.post("/control/reset")
    assert send(simulator, provider, "status_503,first,row=a").status_code == 503


def test_a_refused_request_leaves_the_fault_to_the_next(simulator: Simulator) -> None:
    assert send(simulator, "groq", "status_503,first", max_tokens=-1).status_code == 400
    assert send(simulator, "groq", "status_503,first").status_code == 503


def test_a_request_with_a_fault_is_on_record(simulator: Simulator) -> None:
    send(simulator, "groq", "ok_html,first,row=a")
    send(simulator, "groq", None)
    assert [(r["path"], r["fault"]) for r in simulator.get("requests")["requests"]] == [
        ("/groq/v1/chat/completions", "ok_html,first,row=a"),
        ("/groq/v1/chat/completions", None),
    ]
    found = simulator.client.get("/control/requests", params={"fault": "ok_html,first,row=a"}).json()
    assert len(found["requests"]) == 1


@pytest.mark.parametrize("fault", ["nonsense", "ok_html,second", "ok_html,ms=soon", "drip,"])
def test_an_unknown_fault_is_not_found(simulator: Simulator, fault: str) -> None:
    response = send(simulator, "groq", fault)
    assert response.status_code == 404
    assert isinstance(response.json()["error"], str)


def test_a_drip_is_the_right_answer_byte_by_byte(simulator: Simulator) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "say 1 word"}]}
    path = "/groq/v1/fault/drip,ms=1/chat/completions"
    with simulator.client.stream("POST", path, json=body) as response:
        pieces = list(response.iter_raw())
    assert json.loads(b"".join(pieces))["object"] == "chat.completion"
    assert len(pieces) > 100


def test_the_control_port_plans_faults(simulator: Simulator) -> None:
    plan = {"name": "status_529", "provider": "anthropic", "times": 2}
    made = simulator.client.post("/control/fault", json=plan)
    assert made.json() == {"faults": [plan]}
    assert send(simulator, "groq", None).status_code == 200
    assert [send(simulator, "anthropic", None).status_code for _ in range(3)] == [529, 529, 200]
    simulator.client.post("/control/fault", json={"name": "ok_html", "times": None})
    assert "html" in send(simulator, "groq", None).headers["content-type"]
    simulator.client.delete("/control/fault")
    assert send(simulator, "groq", None).json()["object"] == "chat.completion"


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        [],
        {"name": "nonsense"},
        {"name": "drip", "provider": "nobody"},
        {"name": "drip", "times": 0},
        {"name": "drip", "ms": "1"},
        {"name": "drip", "unknown": 1},
    ],
)
def test_a_wrong_plan_is_refused(simulator: Simulator, wrong: Any) -> None:
    assert simulator.client.post("/control/fault", json=wrong).status_code == 400


def test_a_redirect_leads_to_a_place_that_is_watched(simulator: Simulator) -> None:
    response = send(simulator, "groq", "redirect_307")
    assert httpx.post(response.headers["location"]).status_code == 404
    assert simulator.get("requests")["requests"][-1]["path"] == "/groq/redirected"


@EVERY_WIRE
def test_line_ends_and_lines_do_not_change_the_events(simulator: Simulator, provider: str) -> None:
    right = _said(send(simulator, provider, None, stream=True).text)
    for fault in ("sse_cr", "sse_crlf", "sse_bom", "sse_comments", "wrong_type"):
        assert _said(send(simulator, provider, fault, stream=True).text.lstrip("\ufeff")) == right, fault
    bare = send(simulator, provider, "sse_no_space", stream=True).text
    assert "data: " not in bare
    assert _said(bare.replace("data:", "data: ")) == right
    assert "\r\n" not in send(simulator, provider, "sse_cr", stream=True).text
    several = send(simulator, provider, "sse_multiline", stream=True).text
    assert several.count("data: ") > 3 * len(right)
    assert _said("\n".join(map(_joined, re.split(r"\r?\n\r?\n", several.strip())))) == right


def _said(text: str) -> list[Any]:
    """The events without the times in them."""
    found = [e for e in events_of(text) if e != "[DONE]"]
    return [{n: v for n, v in e.items() if n != "created"} for e in found]


def _joined(event: str) -> str:
    """An event of several `data:` lines as one of one line."""
    data = [line.removeprefix("data: ") for line in event.splitlines() if line.startswith("data: ")]
    return "data: " + "".join(data)


@EVERY_WIRE
def test_usage_is_wrong_in_the_way_its_name_says(simulator: Simulator, provider: str) -> None:
    def usage(fault: str) -> Any:
        body = send(simulator, provider, fault).json()
        return list((body.get("usage") or body.get("usageMetadata") or {}).values())

    assert usage("usage_missing") == []
    assert usage("usage_negative")[:2] == [-5, -7]
    assert min(usage("usage_absurd")) == 10**15
    assert usage("usage_float")[:2] == [12.5, 7.5]
    name = "usageMetadata" if provider == "gemini" else "usage"
    assert send(simulator, provider, "two_usages").text.count(f'"{name}"') == 2
    events = events_of(send(simulator, provider, "usage_every_chunk", stream=True).text)
    assert all(name in event for event in events if event != "[DONE]")
    *before, last = events_of(send(simulator, provider, "usage_after_done", stream=True).text)
    assert name in last
    assert not any(event.get(name) for event in before if event != "[DONE]")


@EVERY_WIRE
def test_a_broken_character_ends_the_body(simulator: Simulator, provider: str) -> None:
    for stream in (False, True):
        content = send(simulator, provider, "end_in_utf8", stream=stream).content
        assert content.endswith(b"tr\xc3")


@EVERY_WIRE
def test_one_event_has_a_megabyte(simulator: Simulator, provider: str) -> None:
    text = send(simulator, provider, "sse_1mb_line", stream=True).text
    assert max(map(len, text.splitlines())) > 1024 * 1024


@EVERY_WIRE
def test_a_hundred_and_one_pieces_are_the_same(simulator: Simulator, provider: str) -> None:
    assert send(simulator, provider, "same_101", stream=True).text.count('" same"') == 101


@EVERY_WIRE
def test_two_calls_come_in_turns(simulator: Simulator, provider: str) -> None:
    text = send(simulator, provider, "tools_out_of_order", stream=True).text
    assert 0 < text.index("add_up") < text.index("look_up")


def test_compressed_answers_say_so(simulator: Simulator) -> None:
    path = "/groq/v1/fault/{}/chat/completions"
    body = {"model": "m", "messages": [{"role": "user", "content": SAID}]}
    for fault, size in (("gzip_bomb", 10 * 1024 * 1024), ("gzip_good", None)):
        with simulator.client.stream("POST", path.format(fault), json=body) as response:
            raw = b"".join(response.iter_raw())
        assert response.headers["content-encoding"] == "gzip"
        assert len(raw) < 64 * 1024
        assert size in (None, len(gzip.decompress(raw)))


def test_vectors_have_faults_too(simulator: Simulator) -> None:
    body = {"model": "some-model", "input": "Hello"}
    assert simulator.client.post("/mistral/v1/fault/status_500/embeddings", json=body).status_code == 500
    assert simulator.client.post("/mistral/v1/fault/sse_cr/embeddings", json=body).status_code == 200
    with pytest.raises(httpx.RemoteProtocolError):
        simulator.client.post("/mistral/v1/fault/cut_mid_body/embeddings", json=body)


def test_the_table_names_every_fault() -> None:
    told = str(TOLD)
    family = {name: name.replace("status_429_", "_").replace("status_", "_") for name in FAULTS}
    assert [name for name in FAULTS if name not in told and family[name] not in told] == []

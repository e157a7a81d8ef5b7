"""What a partner is paid for, and what he learns: his word is not taken, nothing of the caller is told."""

import json
from pathlib import Path
from typing import Any

import pytest
from answers import chunks_of
from consortium_gateway import ConsortiumGateway, serving
from counting import tokens_of
from machines import INPUT_NANO, KEY, OUTPUT_NANO, QUICK, RunningMachine

from llmdeal_litellm.accounts.partner_statements import partner_pages, partner_statement

Machines = tuple[RunningMachine, RunningMachine]
SELDOM = {**QUICK, "probe_every_s": 600}
TEXT = "Please say 40 words."
OWN_INPUT = tokens_of(TEXT) + 8


def usage_of(answer: Any, *, stream: bool) -> dict[str, int]:
    """The usage that an answer shows."""
    found = (
        [c["usage"] for c in chunks_of(answer.text) if c.get("usage")] if stream else [answer.json()["usage"]]
    )
    usage: dict[str, int] = found[-1]
    return usage


def content(answer: Any, *, stream: bool) -> str:
    """The text of an answer."""
    if not stream:
        return str(answer.json()["choices"][0]["message"]["content"])
    deltas = (choice["delta"] for chunk in chunks_of(answer.text) for choice in chunk["choices"])
    return "".join(delta.get("content") or "" for delta in deltas)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(
    ("claimed", "input_percent", "output_percent"),
    [
        ({"prompt_tokens": 10**6, "completion_tokens": 10**6}, 105, 105),
        ({"prompt_tokens": -5, "completion_tokens": -5}, 100, 100),
        ({"prompt_tokens": 1, "completion_tokens": 2}, None, None),
    ],
    ids=["inflated", "negative", "less"],
)
def test_the_bill_is_what_we_counted(
    tmp_path: Path,
    machines: Machines,
    stream: bool,
    claimed: dict[str, int],
    input_percent: int | None,
    output_percent: int | None,
) -> None:
    """At most 105 % of our own counts are billed, shown and paid out; less when less is reported."""
    machine, _ = machines
    with serving(tmp_path, partners=SELDOM) as gateway:
        key = gateway.customer()
        (name,) = gateway.registry.active(machine, share=7000)
        gateway.served(name)
        machine.script("usage", usage=claimed)
        answer = gateway.chat(key, TEXT, stream=stream, max_tokens=400)
        usage, own_output = usage_of(answer, stream=stream), tokens_of(content(answer, stream=stream))
        (end,) = gateway.ends().values()
        partner = gateway.registry.partner(name)

        expected_input = 1 if input_percent is None else OWN_INPUT * input_percent // 100
        expected_output = 2 if output_percent is None else own_output * output_percent // 100
        charged = expected_input * INPUT_NANO + expected_output * OUTPUT_NANO
        assert own_output > 20
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (expected_input, expected_output)
        assert -end["balance_change"] == charged
        assert (end["payee"], end["payee_share"]) == (partner.id, 7000)
        assert gateway.house() == {
            f"payable:{partner.id}": charged * 7 // 10,
            "revenue": charged - charged * 7 // 10,
        }


def test_an_empty_answer_is_given_back_whatever_is_claimed_for_it(tmp_path: Path, machines: Machines) -> None:
    """A machine that claims output it did not give earns nothing."""
    machine, _ = machines
    with serving(tmp_path, partners=SELDOM) as gateway:
        key = gateway.customer()
        (name,) = gateway.registry.active(machine)
        gateway.served(name)
        machine.script("empty")
        answer = gateway.chat(key)
        (end,) = gateway.ends().values()

        assert answer.json()["usage"]["total_tokens"] == 0
        assert end["rule"] == "empty_answer"
        assert gateway.house() == {}


def test_a_cut_stream_pays_for_what_was_delivered(tmp_path: Path, machines: Machines) -> None:
    """The machine dies in the middle: input and what came, by our own counts."""
    machine, _ = machines
    with serving(tmp_path, partners=SELDOM) as gateway:
        key = gateway.customer()
        (name,) = gateway.registry.active(machine, share=5000)
        gateway.served(name)
        machine.script("cut", after_chunks=6)
        answer = gateway.chat(key, TEXT, stream=True)
        (end,) = gateway.ends().values()
        charged = end["input_tokens"] * INPUT_NANO + end["output_tokens"] * OUTPUT_NANO

        assert '"code":"upstream_error"' in answer.text
        assert (end["rule"], end["input_tokens"]) == ("upstream_cut", OWN_INPUT)
        assert end["output_tokens"] > 0
        assert gateway.house()[f"payable:{gateway.registry.partner(name).id}"] == charged // 2


def test_a_machine_is_told_nothing_of_the_caller(tmp_path: Path, machines: Machines) -> None:
    """Messages, sampling and tools go to it; no header, key, account, address or user field of the caller."""
    machine, _ = machines
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    fields = {
        "user": "user-of-the-caller",
        "metadata": {"trace": "trace-of-the-caller"},
        "safety_identifier": "safety-of-the-caller",
        "prompt_cache_key": "cache-of-the-caller",
        "store": True,
        "temperature": 0.5,
        "seed": 7,
        "stop": ["END"],
        "tools": [tool],
    }
    with serving(tmp_path, partners=SELDOM) as gateway:
        key = gateway.customer()
        (name,) = gateway.registry.active(machine)
        gateway.served(name)
        headers = {
            "x-forwarded-for": "203.0.113.9",
            "x-request-id": "id-of-the-caller",
            "cookie": "cookie=of-the-caller",
            "user-agent": "agent-of-the-caller",
            "openai-organization": "organization-of-the-caller",
        }
        gateway.client.headers.update(headers)
        assert gateway.chat(key, "A prompt.", **fields).status_code == 200
        account, key_id = gateway.rows("SELECT account_id, id FROM keys")[0]
        (sent,) = machine.chats()
        body = sent["body"]
        names = {header.lower() for header, _ in sent["headers"]}
        text = json.dumps(sent)

        assert set(body) == {"model", "messages", "temperature", "seed", "stop", "tools", "max_tokens"}
        assert body["messages"] == [{"role": "user", "content": "A prompt."}]
        assert names == {
            *("host", "authorization", "content-type", "content-length"),
            *("accept", "accept-encoding", "connection", "user-agent"),
        }
        assert {name.lower(): value for name, value in sent["headers"]}["authorization"] == f"Bearer {KEY}"
        secrets = ("of-the-caller", "203.0.113", account, key_id, key)
        assert [secret for secret in secrets if secret in text] == []


def test_a_statement_adds_up_also_after_a_refund(tmp_path: Path, machines: Machines) -> None:
    """Plain, streamed and refunded: the entries are the ledger's, and the last line is what is owed."""
    machine, _ = machines
    with serving(tmp_path, partners=SELDOM) as gateway:
        key = gateway.customer()
        (name,) = gateway.registry.active(machine, share=3333)
        gateway.served(name)
        answers = [gateway.chat(key, TEXT, stream=bool(n % 2)) for n in range(5)]
        ends = gateway.ends()
        request = answers[2].headers["x-llmdeal-request-id"]
        given_back = gateway.refund(request)
        entries = statement_of(gateway, name)
        partner = gateway.registry.partner(name)

        assert given_back == -ends[request]["balance_change"]
        assert [e.charged for e in entries[:5]] == [-e["balance_change"] for e in ends.values()]
        assert [e.payable_change for e in entries[:5]] == [e.charged * 3333 // 10_000 for e in entries[:5]]
        assert (entries[5].is_refund, entries[5].payable_change) == (True, -entries[2].payable_change)
        assert entries[-1].payable_after == gateway.house()[f"payable:{partner.id}"]
        assert sum(e.charged - e.payable_change for e in entries) == gateway.house()["revenue"]


def statement_of(gateway: ConsortiumGateway, name: str) -> list[Any]:
    """All entries of a partner's statement."""
    with gateway.store() as database:
        found = partner_statement(database, name)
        return [entry for page in partner_pages(database, found, 2) for entry in page]

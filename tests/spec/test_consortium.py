"""Consortium-routed models: partners' machines behind `consortium-*`, as operators and callers see them."""

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from answers import assert_refusal, chunks_of, untouched
from machines import (
    ALIAS,
    INPUT_NANO,
    KEY,
    KNOWN_WITHIN_S,
    MODEL,
    OUTPUT_NANO,
    RunningMachine,
    running_machine,
)
from openai import InternalServerError, OpenAI
from processes import llmdeal, until
from world import Customer, World

from llmdeal_litellm.money import parse_usd

POINTLESS = frozenset({"retry-after", "x-should-retry"})


class Operator:
    """Runs `llmdeal partner` on the gateway's store."""

    def __init__(self, world: World, machine: RunningMachine) -> None:
        self._world, self._machine = world, machine
        self.names: list[str] = []

    def do(self, *words: str) -> Any:
        """One command; returns its JSON."""
        folder = self._world.gateway.folder
        return llmdeal(folder, "partner", *words, environment={"MACHINE_KEY": KEY})

    def add(self, share: str = "70") -> str:
        """Register the machine; returns its name."""
        name = f"gpu-{os.urandom(4).hex()}"
        terms = ("--url", self._machine.url, "--model", MODEL, "--alias", ALIAS, "--capacity", "4")
        self.do("add", name, *terms, "--share", share, "--api-key-env", "MACHINE_KEY")
        self.names.append(name)
        return name

    def until_answered(self, customer: Customer, status: int) -> None:
        """Wait until requests for the alias are answered so."""

        def is_so() -> bool:
            return self._world.chat(customer, model=ALIAS).status_code == status

        until(is_so, patience_s=KNOWN_WITHIN_S, what=f"the alias to be answered with {status}")


@pytest.fixture(scope="module")
def machine() -> Iterator[RunningMachine]:
    """One machine for all tests here; each registers it anew."""
    with running_machine() as found:
        yield found


@pytest.fixture
def operator(world: World, machine: RunningMachine) -> Iterator[Operator]:
    """An operator; what he registered is removed afterwards."""
    machine.reset()
    operator = Operator(world, machine)
    yield operator
    for name in operator.names:
        operator.do("remove", name)


def test_a_machine_is_known_and_forgotten_within_5_s(
    world: World, customer: Customer, operator: Operator, machine: RunningMachine
) -> None:
    """Added, paused, resumed, removed: each time the answers follow. A refusal holds and sends nothing."""
    name = operator.add()
    operator.until_answered(customer, 200)
    operator.do("pause", name)
    operator.until_answered(customer, 503)
    world.settled(customer)
    asked = len(machine.chats())
    with untouched(world, customer):
        refused = world.chat(customer, model=ALIAS)
    message = assert_refusal(refused, 503, "no_consortium_machine_available", also=POINTLESS)
    assert "smart-route" in message
    assert len(machine.chats()) == asked
    operator.do("resume", name)
    operator.until_answered(customer, 200)
    operator.do("remove", name)
    operator.until_answered(customer, 503)


def test_answers_and_the_statement(
    world: World, customer: Customer, operator: Operator, machine: RunningMachine
) -> None:
    """Plain and streamed answers as from any model, at the alias's own rate; inflated usage is cut; the
    partner's statement adds up to what was charged."""
    name = operator.add(share="62.5")
    operator.until_answered(customer, 200)
    world.settled(customer)
    before = len(world.records(customer))
    plain = world.chat(customer, model=ALIAS)
    streamed = world.chat(customer, model=ALIAS, stream=True)
    machine.script("usage", usage={"prompt_tokens": 10**9, "completion_tokens": 10**9})
    inflated = world.chat(customer, model=ALIAS, max_tokens=50)
    world.settled(customer)
    charged = [-r["balance_change"] for r in world.records(customer)[before:] if r["kind"] == "post"]
    usages = [plain.json()["usage"], chunks_of(streamed.text)[-1]["usage"], inflated.json()["usage"]]
    statement = operator.do("statement", name)
    entries = statement["entries"][-3:]
    world.verify()

    assert plain.json()["model"] == chunks_of(streamed.text)[0]["model"] == ALIAS
    assert charged == [u["prompt_tokens"] * INPUT_NANO + u["completion_tokens"] * OUTPUT_NANO for u in usages]
    assert usages[2]["prompt_tokens"] < 20
    assert usages[2]["completion_tokens"] <= 52
    assert [parse_usd(e["charged_usd"]) for e in entries] == charged
    assert [parse_usd(e["payable_change_usd"]) for e in entries] == [c * 625 // 1000 for c in charged]
    owed = sum(parse_usd(e["payable_change_usd"]) for e in statement["entries"])
    assert parse_usd(statement["closing_payable_usd"]) == owed


def test_a_refund_takes_the_share_back(world: World, customer: Customer, operator: Operator) -> None:
    """`llmdeal account refund` with the id of the answer: the money is back, and nobody has earned."""
    name = operator.add()
    operator.until_answered(customer, 200)
    balance = world.settled(customer).base.balance
    owed = operator.do("statement", name)["closing_payable_usd"]
    answer = world.chat(customer, model=ALIAS)
    charged = balance - world.settled(customer).base.balance
    request = answer.headers["x-llmdeal-request-id"]
    given_back = llmdeal(world.gateway.folder, "account", "refund", request)
    world.verify()

    assert parse_usd(given_back["refunded_usd"]) == charged > 0
    assert world.account(customer).base.balance == balance
    assert operator.do("statement", name)["closing_payable_usd"] == owed


def test_the_sdk_does_not_try_again_without_a_machine(world: World, customer: Customer) -> None:
    """openai-python obeys x-should-retry: false."""
    asked: list[httpx.Request] = []
    with httpx.Client(event_hooks={"request": [asked.append]}) as watched:
        client = OpenAI(api_key=customer.key, base_url=world.base_url, http_client=watched, max_retries=3)
        with pytest.raises(InternalServerError, match="No partner machine serves"):
            client.chat.completions.create(model=ALIAS, messages=[{"role": "user", "content": "Hello!"}])

    assert len(asked) == 1

"""A partner's machine with a server that nobody here wrote: what customers, books and the partner see of it.

A gateway of its own, llama.cpp's server, the openai SDK and the operator's command, in steps.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
from counting import tokens_of
from llama_server import KEY, MODEL, LlamaServer
from processes import Config, GatewayProcess, llmdeal, shipped_config, until
from wires import WIRES
from world import Customer, World

from llmdeal_litellm.cli.commands import EXIT_REFUSED
from llmdeal_litellm.limits import MESSAGE_OVERHEAD_TOKENS
from llmdeal_litellm.money import Rates, charge

ALIAS = "consortium-llama-70b"
RATES = Rates.flat(150_000, 450_000)
"""Of the alias: pico-USD per token, 0.15 and 0.45 USD per 1M."""
PARTNER = "llama-cpp"
SHARE_PERCENT = 70
CAPACITY = 4
KEY_VARIABLE = "LLAMA_CPP_KEY"
TEXT = "Tell me a story of a gateway."
PLAIN_TOKENS, STREAMED_TOKENS, ENDLESS_TOKENS = 40, 64, 3000
PIECES_BEFORE_THE_KILL = 20
PATIENCE_S = 60.0
NO_MACHINE = "no_consortium_machine_available"
NANO = Decimal(10**9)

Say = Callable[[str], None]


@dataclass
class Step:
    """One step: how long it took, and what came of it."""

    name: str
    seconds: float = 0.0
    found: dict[str, Any] = field(default_factory=dict)


@dataclass
class Outcome:
    """What came of a run. `wrong` is empty when all is well."""

    steps: list[Step] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def config(server: LlamaServer) -> Config:
    """The shipped config: the machine's host is listed, and probes and breakers are as quick as a test is."""
    found = shipped_config()
    found["llmdeal"]["partners"] |= {
        "allowed_hosts": [f"127.0.0.1:{server.port}"],
        "probe_every_s": 1,
        "poll_s": 0.5,
    }
    found["llmdeal"]["breaker"]["open_s"] = 1
    return found


class StepFailed(Exception):
    """A step did not come to its end; those that follow would say nothing."""


class RealRun:
    """One run. `server` is not started yet."""

    def __init__(self, folder: Path, server: LlamaServer, say: Say) -> None:
        self._folder = folder
        self._server = server
        self._say = say
        self._world: World
        self._customer: Customer
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """All steps, in order, or until one fails."""
        with suppress(StepFailed):
            self._run()
        return self.outcome

    def _run(self) -> None:
        """The gateway is stopped before the books are read."""
        with self._step("a gateway is ready"):
            gateway = GatewayProcess.launch(self._folder, config(self._server)).wait_until_ready()
            self._world = World(gateway, "http://127.0.0.1:9", WIRES["openai"])
            self._customer = self._world.customer()
        try:
            self._serve()
        finally:
            gateway.stop()
            self._world.close()
        self._read_the_books()

    def _serve(self) -> None:
        with self._step("nobody serves yet") as step:
            self._must(step, "answered", self._refusal(), NO_MACHINE)
        with self._step("the server is up, registered and probed") as step:
            self._server.start()
            step.found["model bytes"] = self._server.model_bytes
            self._register(step)
            self._wait_for("active")
        with self._step("a plain answer") as step:
            self._plain(step)
        with self._step("a streamed answer") as step:
            self._streamed(step)
        with self._step("the server is killed in the middle of a stream") as step:
            self._killed(step)
        with self._step("nobody serves any more") as step:
            self._gone(step)
        with self._step("the server is back and serves") as step:
            self._server.start()
            # Listed as active is not enough: its breaker may be open still.
            until(lambda: not self._refusal(), patience_s=PATIENCE_S, what="the machine to serve again")
            self._plain(step)

    def _register(self, step: Step) -> None:
        """Refused at an address that the operator did not list, taken at the one that he did."""
        environment = {KEY_VARIABLE: KEY}
        adding = self._adding("elsewhere", "https://127.0.0.1:8443/v1")
        refused = llmdeal(self._folder, *adding, environment=environment, allowed=(EXIT_REFUSED,))
        step.found["an address not listed"] = why = refused["error"]["message"]
        self._must(step, "it is refused", "no public address" in why, True)
        added = llmdeal(self._folder, *self._adding(PARTNER, self._server.url), environment=environment)
        self._must(step, "state", added["state"], "probing")

    def _adding(self, name: str, url: str) -> tuple[str, ...]:
        """The words of `llmdeal` that register the machine."""
        what = ("--model", MODEL, "--alias", ALIAS, "--api-key-env", KEY_VARIABLE)
        terms = ("--capacity", str(CAPACITY), "--share", str(SHARE_PERCENT))
        return ("partner", "add", name, "--url", url, *what, *terms)

    def _plain(self, step: Step) -> None:
        with self._sdk() as client:
            answer = client.chat.completions.create(
                model=ALIAS, max_tokens=PLAIN_TOKENS, messages=[{"role": "user", "content": TEXT}]
            )
        [choice], usage = answer.choices, answer.usage
        assert usage is not None
        self._must(step, "words", bool(choice.message.content), True)
        self._must(step, "finish", choice.finish_reason, "length")
        self._ended(step, "completed", (usage.prompt_tokens, usage.completion_tokens))

    def _streamed(self, step: Step) -> None:
        with self._sdk() as client:
            chunks = list(
                client.chat.completions.create(
                    model=ALIAS,
                    max_tokens=STREAMED_TOKENS,
                    stream=True,
                    messages=[{"role": "user", "content": TEXT}],
                )
            )
        usage = chunks[-1].usage
        assert usage is not None
        self._must(step, "several pieces", len(chunks) > PIECES_BEFORE_THE_KILL, True)
        self._must(step, "finish", chunks[-1].choices[0].finish_reason, "length")
        self._ended(step, "completed", (usage.prompt_tokens, usage.completion_tokens))

    def _killed(self, step: Step) -> None:
        """The caller sees our error event; input and what was delivered is billed."""
        text, code = "", ""
        with self._sdk() as client:
            stream = client.chat.completions.create(
                model=ALIAS,
                max_tokens=ENDLESS_TOKENS,
                stream=True,
                messages=[{"role": "user", "content": TEXT}],
            )
            try:
                for pieces, chunk in enumerate(stream):
                    text += chunk.choices[0].delta.content or ""
                    if pieces == PIECES_BEFORE_THE_KILL:
                        self._server.kill()
            except openai.APIError as error:
                code = str(error.code)
        self._must(step, "the stream's error", code, "upstream_error")
        own = (tokens_of(TEXT) + MESSAGE_OVERHEAD_TOKENS, tokens_of(text))
        self._ended(step, "upstream_cut", own)

    def _gone(self, step: Step) -> None:
        """Refused for nothing from then on, at first perhaps because the machine was not yet missed."""
        before = self._world.settled(self._customer).base.balance
        codes: list[str] = []

        def missed() -> bool:
            codes.append(self._refusal())
            return codes[-1] == NO_MACHINE

        until(missed, patience_s=PATIENCE_S, what="the machine to be missed")
        step.found["codes until then"] = sorted(set(codes))
        self._must(step, "others", set(codes) <= {NO_MACHINE, "upstream_error"}, True)
        self._must(step, "charged", before - self._world.settled(self._customer).base.balance, 0)

    def _read_the_books(self) -> None:
        """The ledger's invariants hold, and the partner is owed his share of what the customer paid."""
        with self._step("the books") as step:
            checks = llmdeal(self._folder, "ledger", "verify")
            self._must(step, "ledger verify", checks["ok"], True)
            statement = llmdeal(self._folder, "partner", "statement", PARTNER)
            paid = [-r["balance_change"] for r in self._world.records(self._customer) if r["kind"] == "post"]
            owed = sum(amount * SHARE_PERCENT // 100 for amount in paid)
            totals = statement["totals"]
            self._must(step, "charges", totals["charges"], len(paid))
            self._must(step, "charged", Decimal(totals["charged_usd"]), sum(paid) / NANO)
            self._must(step, "owed", Decimal(statement["closing_payable_usd"]), owed / NANO)

    def _ended(self, step: Step, rule: str, tokens: tuple[int, int]) -> None:
        """The newest hold ended by this rule, with these tokens billed at the alias's own rate."""
        end = self._world.last_end(self._customer)
        self._must(step, "rule", end["rule"], rule)
        self._must(step, "tokens billed", (end["input_tokens"], end["output_tokens"]), tokens)
        self._must(step, "nano-USD", -end["balance_change"], charge(RATES, *tokens))

    def _refusal(self) -> str:
        """The code with which a request is refused, "" when it is answered."""
        with self._sdk() as client:
            try:
                client.chat.completions.create(
                    model=ALIAS, max_tokens=1, messages=[{"role": "user", "content": TEXT}]
                )
            except openai.APIStatusError as refused:
                return str(refused.code)
        return ""

    def _sdk(self) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=self._world.base_url, api_key=self._customer.key, max_retries=0, timeout=PATIENCE_S
        )

    def _wait_for(self, state: str) -> None:
        def there() -> bool:
            listed = llmdeal(self._folder, "partner", "list")["partners"]
            return any(one["name"] == PARTNER and one["state"] == state for one in listed)

        until(there, patience_s=PATIENCE_S, what=f"{PARTNER} to be {state}")

    def _must(self, step: Step, name: str, found: object, wanted: object) -> None:
        """Note what was found, and that it is wrong when it is not what must be."""
        step.found[name] = str(found) if isinstance(found, Decimal) else found
        if found != wanted:
            self.outcome.wrong.append(f"{step.name}: {name} is {found!r}, not {wanted!r}")

    @contextmanager
    def _step(self, name: str) -> Iterator[Step]:
        step = Step(name)
        self.outcome.steps.append(step)
        begun_s = time.monotonic()
        try:
            yield step
        except (openai.APIError, AssertionError) as failed:
            self.outcome.wrong.append(f"{name}: {failed}")
            raise StepFailed from failed
        step.seconds = round(time.monotonic() - begun_s, 2)
        self._say(f"{step.seconds:6.2f} s  {name}")

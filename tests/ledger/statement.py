"""Scenarios as bank statements: one movement a line, what came of it last.

    credit 1000                 -> ok                     | 1000 / 0
    hold r1 100+500             -> held 600 for 100+500   | 1000 / 600
    post r1 100+200             -> charged 300, completed | 700 / 0

Every token costs one nano-USD, so amounts are sums of tokens. `|` is followed by balance / held. A line
that begins with `20x` is done 20 times, `#` being the number of the turn; the last outcome counts.
It is noon of 2025-06-15, UTC, until `at` says otherwise.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime

from llmdeal_litellm.accounts.admin import Span
from llmdeal_litellm.ledger.ops import (
    Balance,
    Closed,
    CloseHold,
    Credit,
    Dispute,
    Extended,
    ExtendHold,
    Held,
    MarkDelivered,
    PaidRates,
    Refused,
    Result,
    Unknown,
)
from llmdeal_litellm.ledger.rows import US_PER_S
from llmdeal_litellm.policy.pricing import ALL_OF_IT
from llmdeal_litellm.policy.usage import Billed, Claim, Rule

from .bank import Bank, open_hold, quote

LINE = re.compile(r"(?:(\d+)x )?(\w+)(.*?) *-> (.*)")
TOKENS = re.compile(r"(\d+)\+(\d+)")


class Statement:
    """Plays a scenario against a fresh account with the keys k1 and k2, and writes down what happened."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        self.account = bank.account()
        self.keys = {"k1": bank.key(self.account), "k2": bank.key(self.account)}
        self._do: dict[str, Callable[[list[str]], str]] = {
            "credit": lambda w: outcome_of(bank.do(Credit(self._of(w), _wallet(w), int(w[0])))),
            "dispute": lambda w: outcome_of(bank.do(Dispute(self._of(w), _wallet(w), int(w[0])))),
            "hold": self._hold,
            "post": lambda w: self._post(w, Rule.COMPLETED),
            "empty": lambda w: self._post(w, Rule.EMPTY_ANSWER),
            "left": lambda w: self._post(w, Rule.CALLER_LEFT),
            "void": lambda w: outcome_of(
                bank.do(CloseHold(w[0], Rule.FAILED_BEFORE_OUTPUT, None, leg=_leg(w)))
            ),
            "mark": lambda w: outcome_of(bank.do(MarkDelivered(w[0], int(w[1]))), mark=True),
            "crash": lambda w: f"{bank.crash()} ended",
            "extend": lambda w: outcome_of(bank.do(ExtendHold(w[0], int(w[1]), _leg(w)))),
            "cap": lambda w: _ok(bank.admin.set_cap(self.keys[w[0]], int(w[1]), per=_span(w))),
            "revoke": lambda w: _ok(bank.admin.revoke_key(self.keys[w[0]], now_us=bank.now_us)),
            "freeze": lambda w: _ok(bank.admin.set_frozen(self.account, True)),
            "unfreeze": lambda w: _ok(bank.admin.set_frozen(self.account, False)),
            "at": self._at,
            "house": lambda w: (
                ", ".join(f"{name} {amount}" for name, amount in bank.house().items()) or "nothing"
            ),
            "key": lambda w: self._key(self.keys[w[0]]),
            "last": lambda w: self._last_record(),
        }

    def play(self, scenario: str) -> tuple[list[str], list[str]]:
        """What the scenario says and what happened, line by line, evenly spaced."""
        said: list[str] = []
        happened: list[str] = []
        for line in (re.sub(r" +", " ", text.strip()) for text in scenario.strip().splitlines()):
            found = LINE.fullmatch(line)
            assert found is not None, f"not a line of a statement: {line}"
            times, name, rest, _ = found.groups()
            outcome = ""
            for turn in range(int(times or 1)):
                outcome = self._do[name](rest.replace("#", str(turn)).split())
            wallet = self.bank.wallet(self.account, _wallet(rest.split()))
            shown = f" | {wallet.balance} / {wallet.held}" if "|" in line else ""
            said.append(line)
            happened.append(f"{line.split(' -> ')[0]} -> {outcome}{shown}")
        return said, happened

    def _hold(self, words: list[str]) -> str:
        own, limit = _tokens(words[1])
        named = dict(word.split("=") for word in words[2:] if "=" in word)
        quoted = quote(
            own,
            limit,
            input_bound=int(named.get("bound", own)),
            expected=int(named.get("expected", 0)),
            window=int(named.get("window", ALL_OF_IT)),
        )
        paid = PaidRates(int(named["paid"]) * 1000, int(named["paid"]) * 1000) if "paid" in named else None
        key = named.get("key", "k1")
        op = open_hold(
            words[0],
            self._of(words),
            self.keys.get(key, key),
            quoted,
            wallet=_wallet(words),
            leg=_leg(words),
            paid=paid,
        )
        return outcome_of(self.bank.do(op))

    def _post(self, words: list[str], rule: Rule) -> str:
        billed = Billed(*_tokens(words[1]), marks=("output_claim_implausible",) if "marked" in words else ())
        claims = [_tokens(word.removeprefix("claim=")) for word in words if word.startswith("claim=")]
        claim = Claim(*claims[0]) if claims else Claim()
        return outcome_of(self.bank.do(CloseHold(words[0], rule, billed, claim, "upstream-1", _leg(words))))

    def _of(self, words: list[str]) -> str:
        return "acct_nobody" if "nobody" in words else self.account

    def _at(self, words: list[str]) -> str:
        moment = datetime.fromisoformat(words[0])
        self.bank.now_us = int(moment.replace(tzinfo=UTC).timestamp()) * US_PER_S
        return "ok"

    def _key(self, key_id: str) -> str:
        key = self.bank.admin.key(key_id)
        return f"spent {key.spent}, held {key.held}"

    def _last_record(self) -> str:
        select = (
            "SELECT kind, rule, input_tokens, output_tokens, claimed_input, claimed_output, marks "
            "FROM records WHERE account_id = ? ORDER BY version DESC LIMIT 1"
        )
        return " ".join(str(v) for v in self.bank.database.rows(select, (self.account,))[0])


def _wallet(words: list[str]) -> str:
    return "frontier" if "frontier" in words else "base"


def _span(words: list[str]) -> Span:
    named = [span for span in Span if span.value in words]
    return named[0] if named else Span.LIFE


def _leg(words: list[str]) -> int:
    return 1 if "leg1" in words else 0


def _tokens(text: str) -> tuple[int, int]:
    found = TOKENS.fullmatch(text)
    assert found is not None, f"not input+output tokens: {text}"
    return int(found[1]), int(found[2])


def _ok(_: object) -> str:
    return "ok"


def outcome_of(result: Result, *, mark: bool = False) -> str:
    """What a statement says of a result."""
    match result:
        case Held(terms):
            of = f" of {terms.answer_limit}" if terms.answer_limit != terms.output_limit else ""
            return f"held {terms.amount} for {terms.input_part}+{terms.output_limit}{of}"
        case Extended(output_limit):
            return f"covers {output_limit}"
        case Refused(reason) if not result.required:
            return f"refused, {reason.value}"
        case Refused(reason, required, available, held):
            return f"refused, {reason.value}: needs {required}, has {available}, held {held}"
        case Closed() if mark:
            return "nothing, already ended"
        case Closed(charge, rule, already):
            return f"{'already ' if already else ''}charged {charge}, {rule.value}"
        case Unknown(what):
            return f"unknown {what}"
        case Balance():
            return "marked" if mark else "ok"

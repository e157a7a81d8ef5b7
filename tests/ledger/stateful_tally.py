"""What happened in a run, counted: every operation by what came of it, at first and when done again."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from stateful_model import Key, Model
from stateful_terms import day_of

from llmdeal_litellm.accounts.admin import Span
from llmdeal_litellm.ledger.ops import (
    Closed,
    CloseHold,
    Credit,
    Dispute,
    Extended,
    ExtendHold,
    Held,
    MarkDelivered,
    Op,
    OpenHold,
    Reason,
    Refund,
    Refunded,
    Refused,
    Result,
    Unknown,
)
from llmdeal_litellm.limits import EMPTY_ANSWER_REFUNDS_PER_DAY
from llmdeal_litellm.policy.usage import Rule

KINDS: dict[type, str] = {
    OpenHold: "open",
    ExtendHold: "extend",
    CloseHold: "end",
    MarkDelivered: "mark",
    Credit: "credit",
    Dispute: "dispute",
    Refund: "refund",
}
SAY_EVERY_S = 5.0


@dataclass
class Tally:
    """Counts of one store's run. `say` gets a line now and then when it is given."""

    store: str
    say: Callable[[str], None] | None = None
    examples: int = 0
    steps: int = 0
    counted: int = 0
    first: Counter[tuple[str, str]] = field(default_factory=Counter)
    again: Counter[tuple[str, str]] = field(default_factory=Counter)
    begun_s: float = field(default_factory=time.monotonic)
    said_s: float = field(default_factory=time.monotonic)

    def count(self, kind: str, what: str, times: int = 1, *, again: bool = False) -> None:
        """It happened."""
        (self.again if again else self.first)[kind, what] += times

    def apply(self, model: Model, op: Op, owner: str, now_us: int, *, again: bool) -> Result:
        """What the model says of an operation, counted."""
        before = Before(model, op)
        result = model.apply(op, owner, now_us)
        self.count(KINDS[type(op)], before.outcome(result), again=again)
        for kind, what in before.besides(result):
            self.count(kind, what, again=again)
        return result

    def example(self) -> None:
        """An example has ended. One in which nothing could be done does not count."""
        self.examples += self.steps > self.counted
        self.counted = self.steps

    def step(self) -> None:
        """One more step; says where the run is, every few seconds."""
        self.steps += 1
        now_s = time.monotonic()
        if self.say is not None and now_s - self.said_s >= SAY_EVERY_S:
            self.said_s = now_s
            self.say(self.line())

    def line(self) -> str:
        """Where the run is."""
        kinds = Counter[str]()
        for (kind, _), times in (*self.first.items(), *self.again.items()):
            kinds[kind] += times
        counted = ", ".join(f"{kind} {times:,}" for kind, times in sorted(kinds.items()))
        return f"{self._where()}; {counted}"

    def _where(self) -> str:
        passed_s = time.monotonic() - self.begun_s
        return f"{self.store}: {self.examples:,} examples, {self.steps:,} steps in {passed_s:,.0f} s"

    def table(self) -> str:
        """Everything that was counted, by kind and outcome."""
        lines = [self._where(), f"{'operation':<14}{'outcome':<36}{'first':>12}{'again':>12}"]
        for kind, what in sorted(self.first.keys() | self.again.keys()):
            again = self.again[kind, what]
            shown = f"{again:,}" if again else ""
            lines.append(f"{kind:<14}{what:<36}{self.first[kind, what]:>12,}{shown:>12}")
        return "\n".join(lines)


class Before:
    """What an operation found, to say in words what came of it."""

    def __init__(self, model: Model, op: Op) -> None:
        self._model, self._op = model, op
        self._covered, self._available, self._repeat, self._freed = 0, 0, "", False
        self._key: Key | None = None
        match op:
            case OpenHold():
                self._key = model.keys.get(op.key_id)
                if op.idempotency is not None:
                    row = model.repeats.get(op.idempotency.key_digest)
                    self._repeat = "" if row is None else row.state
                    self._freed = op.idempotency.key_digest in model.freed
            case Credit() | Dispute():
                purse = (op.account_id, op.wallet)
                self._available = model.available(purse) if purse in model.balances else 0
            case _:
                hold = model.holds.get((op.request_id, op.leg))
                if hold is not None:
                    self._covered, self._key = hold.output_limit, model.keys[hold.key]

    def outcome(self, result: Result) -> str:
        """What came of it."""
        match self._op, result:
            case _, Unknown():
                return "unknown"
            case _, Refunded():
                return "given back before"
            case Refund(payee=payee), _:
                return "done" if payee is None else "done, also by a partner"
            case _, Refused(reason):
                return f"refused: {reason.value}"
            case OpenHold(quote=quote), Held(terms):
                less = terms.answer_limit < quote.output_limit or terms.input_part < quote.input_bound
                window = ", a window of it" if terms.output_limit < terms.answer_limit else ""
                return f"held{', less than asked' if less else ''}{window}"
            case ExtendHold(output_limit=wanted), Extended(limit):
                if limit == self._covered:
                    return "nothing added" if limit < wanted else "covered already"
                return "in full" if limit == wanted else "in part"
            case _, Closed(already=True):
                return "had ended"
            case CloseHold(rule=wanted), Closed(_, rule):
                used_up = wanted is Rule.EMPTY_ANSWER and rule is Rule.COMPLETED
                return "completed: empty, refunds used up" if used_up else rule.value
            case Dispute(amount=amount), _:
                return "taken in full" if amount <= self._available else "taken in part"
            case _:
                return "done"

    def besides(self, result: Result) -> Iterator[tuple[str, str]]:
        """What else came about with it."""
        op, key = self._op, self._key
        if isinstance(op, OpenHold) and isinstance(result, Held) and key is not None:
            used = sum(amount for _, amount in key.charges)
            used += sum(h.amount for h in self._model.held_by(op.key_id))
            for span in (Span.DAY, Span.MONTH):
                if key.caps.get(span, used) < used:
                    yield "cap", f"begins anew with the {span.value}"
            if op.idempotency is not None:
                why = (
                    ", as it had expired" if self._repeat else ", as it was given back" if self._freed else ""
                )
                yield "named", f"begun{why}"
        elif isinstance(result, Refused) and result.reason is Reason.REPEATED:
            yield "named", f"repeated: {self._repeat}"
        elif result == Closed(0, Rule.EMPTY_ANSWER) and key is not None:
            today = sum(day_of(moment_us) == day_of(key.refunds[-1]) for moment_us in key.refunds)
            if today < EMPTY_ANSWER_REFUNDS_PER_DAY < len(key.refunds):
                yield "refunds", "begin anew with the day"


def missing(counted: Counter[tuple[str, str]], wanted: dict[str, str]) -> list[str]:
    """What never happened of what should: outcomes by kind, with ` | ` between them."""
    pairs = [(kind, what) for kind, outcomes in wanted.items() for what in outcomes.split(" | ")]
    return [f"{kind}: {what}" for kind, what in pairs if not counted[kind, what]]


def to_stderr(line: str) -> None:
    """Where progress is said."""
    print(line, file=sys.stderr, flush=True)

"""What the ledger may say of each request of a kill campaign, given what its client noted."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from counting import tokens_of
from fleet_gateway import INPUT_NANO, OUTPUT_NANO, PAID_INPUT_NANO
from kill_client import Asked, Attempt

Row = dict[str, Any]

GRACE_S = 2.0
"""What was delivered for longer than this before a worker died is charged, whatever becomes of the worker."""
BEHIND_S = 0.25
"""By how much a client's note may be later than what it notes: both sides share two processors."""
SLACK_TOKENS = 32
"""Text that is counted in parts has a few tokens more than as a whole."""
COMPLETED, CRASH_DELIVERED, CRASH_UNDELIVERED = "completed", "crash_delivered", "crash_undelivered"
CRASHED = (CRASH_DELIVERED, CRASH_UNDELIVERED)
NEVER_HELD = "no hold"
LEFT_RULES = frozenset({"caller_left", "caller_left_before_dispatch"})


@dataclass
class Judged:
    """What came of the requests. `wrong` must stay empty."""

    requests: int = 0
    attempts: int = 0
    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By kind of request and rule of its end."""
    charged_nano: int = 0
    given_back: int = 0
    """Holds that were voided."""
    extended: int = 0
    """Holds that grew."""
    answered: int = 0
    replayed: int = 0
    """Whole answers to requests that were sent more than once."""
    lost_late: int = 0
    """Whole answers whose settlement died with their worker, within GRACE_S: ended by the crash rule."""
    charged_for_nothing: int = 0
    """Charged by the crash rule, or kept for a repetition, though the client got no output."""
    uncharged_tokens: int = 0
    """Output that clients of killed workers got and nobody paid, by our own count."""
    loss_nano: int = 0
    """What the ledger booked as the house's loss."""
    out_of_touch: int = 0
    """Holds that ended while their worker lived, which had not renewed its lease in time."""
    wrong: list[str] = field(default_factory=list)

    def add(self, other: "Judged") -> None:
        """Take the counts of another part of the campaign over."""
        for name, value in vars(other).items():
            if name == "ends":
                self.ends.update(value)
            else:
                setattr(self, name, getattr(self, name) + value)


class Judge:
    """Judges the requests of one account. `kills_s` are the moments of the kills, by the clients' clock.

    `late` are the requests of which a worker said that their hold had ended without it.
    """

    def __init__(self, kills_s: Sequence[float], late: frozenset[str]) -> None:
        self._kills_s = sorted(kills_s)
        self._late = late
        self._judged = Judged()

    def judge(self, asked: Sequence[Asked], records: Sequence[Row], losses: Sequence[Row]) -> Judged:
        """Everything of one account, whose holds have all ended."""
        judged = self._judged
        holds: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
        for record in records:
            if record["kind"] == "hold":
                holds[(record["key_id"], record["alias"], record["input_tokens"])].append(record)
        ends = {record["request_id"]: record for record in records if record["kind"] in ("post", "void")}
        judged.requests = len(asked)
        judged.attempts = sum(len(one.attempts) for one in asked)
        judged.charged_nano = -sum(end["balance_change"] for end in ends.values())
        judged.given_back = sum(end["kind"] == "void" for end in ends.values())
        judged.extended = len({record["request_id"] for record in records if record["kind"] == "extend"})
        due_nano = 0
        for one in asked:
            own = holds.pop((one.key_id, *one.ask.place), [])
            of_it = [ends[hold["request_id"]] for hold in own if hold["request_id"] in ends]
            judged.ends.update((one.ask.kind, end["rule"]) for end in of_it)
            if not own:
                judged.ends[(one.ask.kind, NEVER_HELD)] += 1
            due_nano += PAID_INPUT_NANO * one.ask.own_input * _count(of_it, CRASH_UNDELIVERED)
            judged.wrong += [f"{said}: {one} {of_it}"[:3000] for said in self._of_one(one, own, of_it)]
        judged.wrong += [f"a hold that nobody asked for: {hold}" for hold in holds.values()]
        judged.loss_nano = -sum(entry["amount"] for entry in losses)
        if judged.loss_nano != due_nano:
            judged.wrong.append(f"the loss is {judged.loss_nano}, of lost answers' inputs {due_nano}")
        return judged

    def _of_one(self, one: Asked, holds: list[Row], ends: list[Row]) -> Iterator[str]:
        posts = [end for end in ends if end["kind"] == "post"]
        if len(ends) != len(holds):
            yield "a hold without an end"
        if len(holds) > len(one.attempts):
            yield "more holds than attempts"
        if len(posts) > 1:
            yield "charged twice"
        if any(end["rule"] in CRASHED and not self._may_have_crashed(one) for end in ends):
            if any(end["request_id"] in self._late for end in ends):
                self._judged.out_of_touch += 1
            else:
                yield "ended as if its worker had died"
        yield from (said for post in posts for said in _wrong_charge(post))
        if one.answered is not None:
            self._judged.answered += 1
            self._judged.replayed += len(one.attempts) > 1
            yield from self._answered(one, one.answered, posts)
        elif posts:
            yield from self._cut_and_charged(one, posts[0])
        else:
            yield from self._cut_and_uncharged(one)

    def _may_have_crashed(self, one: Asked) -> bool:
        """Whether a worker died while the request ran, or so soon after that its end may have been lost."""
        return any(self._killed(attempt.sent_s, attempt.ended_s + GRACE_S) for attempt in one.attempts)

    def _killed(self, from_s: float, to_s: float) -> bool:
        place = bisect_left(self._kills_s, from_s - BEHIND_S)
        return place < len(self._kills_s) and self._kills_s[place] <= to_s + BEHIND_S

    def _answered(self, one: Asked, attempt: Attempt, posts: list[Row]) -> Iterator[str]:
        """A whole answer is charged once, with what its usage says; if its worker died at once, by the crash
        rule."""
        usage = attempt.usage or {}
        told = (usage.get("prompt_tokens"), usage.get("completion_tokens", 0))
        if posts and posts[0]["rule"] == COMPLETED:
            if (posts[0]["input_tokens"], posts[0]["output_tokens"]) != told:
                yield f"charged something else than {usage}"
        elif self._killed(attempt.ended_s, attempt.ended_s + GRACE_S):
            self._judged.lost_late += 1
            self._judged.uncharged_tokens += max(0, told[1] - (posts[0]["output_tokens"] if posts else 0))
        elif attempt.request_id not in self._late:
            yield "a whole answer that was not charged as one"

    def _cut_and_charged(self, one: Asked, post: Row) -> Iterator[str]:
        """An answer that the client has not whole, but that it pays for."""
        if post["rule"] == COMPLETED:
            # The worker or the client went when the answer was done and not yet sent to its end.
            if not any(attempt.pieces or attempt.left for attempt in one.attempts):
                if one.ask.repeat_key is None:
                    yield "charged for an answer of which the client got nothing"
                self._judged.charged_for_nothing += 1
            return
        if post["rule"] not in (CRASH_DELIVERED, *LEFT_RULES):
            yield "charged by a rule that does not fit"
            return
        if post["input_tokens"] != one.ask.own_input:
            yield f"charged {post['input_tokens']} input tokens"
        billed = post["output_tokens"]
        attempt = next((a for a in one.attempts if a.request_id == post["request_id"]), one.attempts[0])
        got = tokens_of(attempt.text_until(attempt.ended_s))
        if post["rule"] != CRASH_DELIVERED:
            if billed < got - SLACK_TOKENS and not attempt.left:
                yield f"{got} tokens delivered, {billed} charged"
            return
        if attempt.first_s is None:
            self._judged.charged_for_nothing += 1
        surely = tokens_of(attempt.text_until(attempt.ended_s - GRACE_S - BEHIND_S))
        self._judged.uncharged_tokens += max(0, got - billed)
        if billed > got + SLACK_TOKENS and not attempt.left:
            yield f"charged {billed} output tokens, of which the client got {got}"
        if billed < surely - SLACK_TOKENS:
            yield f"{surely} tokens delivered for more than 2 s, {billed} charged"

    def _cut_and_uncharged(self, one: Asked) -> Iterator[str]:
        for attempt in one.attempts:
            if attempt.first_s is None:
                continue
            self._judged.uncharged_tokens += tokens_of(attempt.text_until(attempt.ended_s))
            if attempt.ended_s - attempt.first_s > GRACE_S + BEHIND_S:
                yield f"delivered for {attempt.ended_s - attempt.first_s:.2f} s and uncharged"


def _count(ends: list[Row], rule: str) -> int:
    return sum(end["rule"] == rule for end in ends)


def _wrong_charge(post: Row) -> Iterator[str]:
    cost = INPUT_NANO * post["input_tokens"] + OUTPUT_NANO * post["output_tokens"]
    if -post["balance_change"] != cost:
        yield f"charged {-post['balance_change']} for tokens that cost {cost}"

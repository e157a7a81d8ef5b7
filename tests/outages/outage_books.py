"""What each client saw against what the ledger has: nothing free, nothing twice, nothing for nothing."""

from collections.abc import Collection, Iterable
from typing import Any

from counting import tokens_of
from fleet_gateway import INPUT_NANO, OUTPUT_NANO
from fleet_world import FUNDS_NANO, FleetWorld
from outage_asks import Seen
from world import Customer

CRASH_RULES = frozenset({"crash_delivered", "crash_undelivered"})
CUT_RULES = CRASH_RULES | {"gateway_stopped"}
LOST_WITHIN_S = 2.0
"""What a crash may cost the house: answers whose last byte went out so shortly before."""

Row = dict[str, Any]


def mistakes(
    world: FleetWorld,
    customers: Iterable[Customer],
    seen: Collection[Seen],
    *,
    crashed_s: float | None = None,
    allowed: Collection[str] = (),
) -> list[str]:
    """What is wrong with the accounts of these customers, whose every request is in `seen`.

    `crashed_s` is when a worker was killed, if one was: only then may requests have no answer, and records
    end by the crash rules. `allowed` are further rules by which answers may have been cut.
    """
    found = [str(check) for check in world.broken_invariants()]
    cut_by = {*allowed, *(CRASH_RULES if crashed_s is not None else ())}
    ends: dict[str, Row] = {}
    for customer in {c.account_id: c for c in customers}.values():
        if world.open_holds(customer):
            found.append(f"{customer.account_id} has open holds")
        mine = world.ends(customer)
        ends |= mine
        account = world.account(customer)
        charged = sum(-end["balance_change"] for end in mine.values())
        if account.base.balance != FUNDS_NANO - charged:
            found.append(f"{customer.account_id} has {account.base.balance}, was charged {charged}")
    known = {one.request_id for one in seen if one.request_id}
    for one in seen:
        said = _wrong_with(one, ends.get(one.request_id), crashed_s, cut_by)
        if said:
            found.append(f"{one}: {said}")
    for request_id, end in ends.items():
        if request_id not in known and end["kind"] == "post" and end["rule"] not in cut_by:
            found.append(f"{request_id} was charged by {end['rule']}, and nobody saw an answer")
    return found


def _wrong_with(one: Seen, end: Row | None, crashed_s: float | None, cut_by: Collection[str]) -> str:
    if one.whole:
        return _wrong_with_answer(one, end, crashed_s)
    if one.status == 200:
        return _wrong_with_part(one, end, cut_by)
    if one.status == 0 and crashed_s is None:
        return "no answer"
    if end is not None and end["kind"] != "void" and end["rule"] not in cut_by:
        return f"charged by {end['rule']}"
    return ""


def _wrong_with_answer(one: Seen, end: Row | None, crashed_s: float | None) -> str:
    """A complete answer is paid for to the token, but for those of a crash's last moments."""
    assert one.usage is not None, one
    if end is None:
        return "a complete answer without an end"
    if end["rule"] in CRASH_RULES and crashed_s is not None and one.ended_s >= crashed_s - LOST_WITHIN_S:
        return ""
    if end["rule"] != "completed":
        return f"a complete answer ended by {end['rule']}"
    said = (end["input_tokens"], end["output_tokens"] or 0)
    due = INPUT_NANO * one.usage[0] + OUTPUT_NANO * one.usage[1]
    if "/embeddings" in one.path:
        due = INPUT_NANO * one.usage[0]
    if said != one.usage or -end["balance_change"] != due:
        return f"usage {one.usage}, which costs {due}; charged {said}, {-end['balance_change']}"
    return ""


def _wrong_with_part(one: Seen, end: Row | None, cut_by: Collection[str]) -> str:
    """An answer that was cut is paid for as far as it came."""
    if end is None:
        return "an answer that was cut, without an end"
    if end["rule"] not in cut_by:
        return f"an answer that was cut ended by {end['rule']}"
    if end["kind"] == "post" and end["output_tokens"] > tokens_of(one.text):
        return f"charged {end['output_tokens']} output tokens, {tokens_of(one.text)} came"
    return ""

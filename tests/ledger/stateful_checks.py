"""The store against the model: every row of an example's accounts, and the ledger's own invariants."""

from collections.abc import Sequence

from stateful_bench import Bench
from stateful_model import Model
from stateful_terms import day_of, month_of

from llmdeal_litellm.accounts.admin import Span
from llmdeal_litellm.catalog.model import Payee
from llmdeal_litellm.ledger.database import Row
from llmdeal_litellm.ledger.verify import LEASE_GRACE_US


def agrees(bench: Bench, model: Model, accounts: Sequence[str], *, at_the_end: bool = False) -> None:
    """The store is as the model, `at_the_end` down to every record, and no invariant is broken."""
    stored, due = bench.stored(accounts), rows_of(model)
    for name, rows in due.items():
        assert stored[name] == rows, f"{name}: {differing(stored[name], rows)}"
    assert sum(model.balances.values()) + sum(model.house.values()) == 0
    for purse, balance in model.balances.items():
        assert 0 <= model.held(purse) <= balance
    overdue = any(h.lease_until_us < bench.clock.now_us - LEASE_GRACE_US for h in model.holds.values())
    if at_the_end or not bench.is_sound(accounts):
        broken = bench.broken(accounts)
        assert ("leases" in broken) == overdue, f"{broken}: a lease ran out, or none did"
        broken.pop("leases", None)
        assert broken == {}, broken
    if at_the_end:
        stored_records, due_records = bench.journal(accounts), records_of(model)
        assert stored_records == due_records, differing(stored_records, due_records)


def differing(stored: Sequence[Row], due: Sequence[Row]) -> str:
    """The rows that only one of the two has."""
    more = [row for row in stored if row not in due]
    less = [row for row in due if row not in stored]
    return f"stored is {more}, and it should be {less}"


def rows_of(model: Model) -> dict[str, list[Row]]:
    """What the store should have, table by table."""
    rows: dict[str, list[Row]] = {
        "wallets": [
            (*purse, balance, model.held(purse), len(model.journal[purse]), purse[0] in model.frozen)
            for purse, balance in model.balances.items()
        ],
        "keys": [_key_row(model, key) for key in model.keys],
        "holds": [
            (
                *h.place,
                *h.purse,
                h.key,
                h.amount,
                h.input_part,
                h.output_limit,
                h.owner,
                h.lease_until_us,
                h.marked is not None,
                h.marked or 0,
                h.digest,
                *_payee(h.payee),
            )
            for h in model.holds.values()
        ],
        "repeats": [
            (digest, r.account, r.request, r.state, r.answer, r.expires_at_us)
            for digest, r in model.repeats.items()
        ],
        "house": [(name, amount) for name, amount in model.house.items() if amount],
    }
    return {name: sorted(found, key=repr) for name, found in rows.items()}


def _payee(payee: Payee | None) -> Row:
    return (None, None) if payee is None else (payee.partner, payee.share)


def _key_row(model: Model, name: str) -> Row:
    key, held = model.keys[name], model.held_by(name)
    seen = key.seen_us
    return (
        name,
        key.revoked,
        *(key.caps.get(span) for span in Span),
        key.spent(Span.LIFE, seen),
        sum(h.amount for h in held),
        len(held),
        day_of(seen),
        key.spent(Span.DAY, seen),
        month_of(seen) if seen else 0,
        key.spent(Span.MONTH, seen),
    )


def records_of(model: Model) -> list[Row]:
    """The records that the store should have."""
    return sorted(
        (
            (
                *purse,
                e.kind,
                e.balance_change,
                e.held_change,
                *(e.place or (None, None)),
                e.rule,
                *_payee(e.payee),
            )
            for purse, entries in model.journal.items()
            for e in entries
        ),
        key=repr,
    )

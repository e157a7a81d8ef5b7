"""Refunds by the operator: a charge is given back, once, and who earned a share of it loses that."""

from dataclasses import dataclass

from llmdeal_litellm.accounts.admin import OPERATOR
from llmdeal_litellm.catalog.model import Payee
from llmdeal_litellm.ledger.batch import run_batch
from llmdeal_litellm.ledger.database import Database, Row
from llmdeal_litellm.ledger.ops import Refund, Refunded
from llmdeal_litellm.money import share_of

SELECT_CHARGES = (
    "SELECT account_id, wallet, request_id, leg, -balance_change, alias, payee, payee_share "
    "FROM records WHERE kind IN ('post', 'void') AND request_id = ? AND balance_change < 0 ORDER BY leg"
)


class NothingCharged(LookupError):
    """There is no such request, or nothing was charged for it."""


class AlreadyRefunded(ValueError):
    """All of the request's charges were given back before."""


@dataclass(frozen=True, slots=True)
class GivenBack:
    """What came of a refund, nano-USD. `from_partners` is the part that partners had earned."""

    account_id: str
    amount: int
    from_partners: int


def refund(database: Database, request_id: str, *, note: str, now_us: int) -> GivenBack:
    """Give back what a request was charged, each of its legs. Raises NothingCharged, AlreadyRefunded,
    StoreFailed."""
    with database.write():
        ops = [_refund_of(row, note) for row in database.rows(SELECT_CHARGES, (request_id,))]
        if not ops:
            raise NothingCharged(request_id)
        results = run_batch(database, ops, now_us=now_us, lease=OPERATOR)
    done = [op for op, result in zip(ops, results, strict=True) if not isinstance(result, Refunded)]
    if not done:
        raise AlreadyRefunded(request_id)
    shared = sum(share_of(op.charged, op.payee.share) for op in done if op.payee is not None)
    return GivenBack(ops[0].account_id, sum(op.charged for op in done), shared)


def _refund_of(charge: Row, note: str) -> Refund:
    """The operation that gives a charge back, as it was posted."""
    *fields, payee, share = charge
    return Refund(*(*fields, None if payee is None else Payee(payee, share), note))

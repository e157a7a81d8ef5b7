"""Money in, and money taken back, by the operator. Pure, like `transfers`."""

from llmdeal_litellm.ledger.ops import HOUSE_LOSS, HOUSE_TOPUPS, Balance, Credit, Dispute, Result, Unknown
from llmdeal_litellm.ledger.rows import Batch, RuleBroken


def credit(batch: Batch, op: Credit) -> Result:
    """Money in: the house's top-ups account is the other side."""
    _require_amount(op.amount)
    wallet = batch.wallets.get((op.account_id, op.wallet))
    if wallet is None:
        return Unknown("account")
    record = batch.record(wallet, "credit", op.amount, 0, note=op.note or None)
    batch.book(record, HOUSE_TOPUPS, -op.amount)
    return Balance(wallet.balance, wallet.held)


def _require_amount(amount: int) -> None:
    if amount < 0:
        raise RuleBroken(f"{amount} is not an amount to move")


def dispute(batch: Batch, op: Dispute) -> Result:
    """Take back a disputed payment and freeze the account."""
    _require_amount(op.amount)
    wallet = batch.wallets.get((op.account_id, op.wallet))
    if wallet is None:
        return Unknown("account")
    taken = min(op.amount, wallet.available)
    record = batch.record(wallet, "dispute", -taken, 0, note=op.note or None)
    batch.book(record, HOUSE_TOPUPS, op.amount)
    batch.book(record, HOUSE_LOSS, taken - op.amount)
    batch.frozen.add(op.account_id)
    for row in batch.wallets.values():
        if row.account_id == op.account_id:
            row.frozen = True
    return Balance(wallet.balance, wallet.held)

"""Money in, taken back, and given back, by the operator. Pure, like `transfers`."""

from llmdeal_litellm.ledger.ops import (
    HOUSE_LOSS,
    HOUSE_TOPUPS,
    HOUSE_UPSTREAM_COST,
    REFUND,
    Balance,
    Credit,
    Dispute,
    Refund,
    Refunded,
    Result,
    Unknown,
)
from llmdeal_litellm.ledger.rows import Batch, RuleBroken, WalletRow


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


def provide(batch: Batch, wallet: WalletRow, needed: int) -> None:
    """Give the account of the canaries what its next hold needs beyond what it has: cost of the house."""
    missing = needed - wallet.available
    if missing > 0:
        record = batch.record(wallet, "credit", missing, 0, note="for canaries")
        batch.book(record, HOUSE_UPSTREAM_COST, -missing)


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


def refund(batch: Batch, op: Refund) -> Result:
    """Give a charge back: whoever earned of it loses as much. What the key spent stays spent."""
    _require_amount(op.charged)
    wallet = batch.wallets.get((op.account_id, op.wallet))
    if wallet is None:
        return Unknown("account")
    place = (op.request_id, op.leg)
    if place in batch.refunded:
        return Refunded()
    record = batch.record(
        wallet,
        "credit",
        op.charged,
        0,
        request_id=op.request_id,
        leg=op.leg,
        alias=op.alias,
        rule=REFUND,
        note=op.note or None,
        payee=None if op.payee is None else op.payee.partner,
        payee_share=None if op.payee is None else op.payee.share,
    )
    batch.book_charge(record, -op.charged, op.payee)
    batch.refunded.add(place)
    return Balance(wallet.balance, wallet.held)

"""What a caller is told when the ledger refuses a hold."""

from llmdeal_litellm.catalog.model import Alias, Kind
from llmdeal_litellm.errors import (
    GatewayError,
    InvalidApiKey,
    KeyFrozen,
    QuotaExhausted,
    RateLimited,
    RequestInProgress,
)
from llmdeal_litellm.ledger.ops import Reason, Refused
from llmdeal_litellm.money import usd_text

CAPS = {
    Reason.KEY_CAP: "cap",
    Reason.KEY_CAP_DAY: "cap of the day (UTC)",
    Reason.KEY_CAP_MONTH: "cap of the month (UTC)",
}


def refusal(refused: Refused, alias: Alias) -> GatewayError:
    """The error that a refused hold is shown as."""
    match refused.reason:
        case Reason.REVOKED:
            return InvalidApiKey()
        case Reason.FROZEN:
            return KeyFrozen()
        case Reason.OPEN_HOLDS:
            return RateLimited("This key has 32 requests in flight. Retry when one of them has ended.")
        case Reason.REPEATED:
            return RequestInProgress()
        case Reason.KEY_CAP | Reason.KEY_CAP_DAY | Reason.KEY_CAP_MONTH:
            return QuotaExhausted(
                f"This request needs {usd_text(refused.required)} USD and the key's {CAPS[refused.reason]} "
                f"has {usd_text(refused.available)} USD left "
                f"({usd_text(refused.held)} USD held by requests in flight). "
                "Raise the key's cap or use another key."
            )
        case Reason.FUNDS:
            wallet = "Frontier Credits have" if alias.kind is Kind.FRONTIER else "balance has"
            return QuotaExhausted(
                f"This request needs {usd_text(refused.required)} USD and your {wallet} "
                f"{usd_text(refused.available)} USD available "
                f"({usd_text(refused.held)} USD held by requests in flight). "
                "Top up, or retry when requests in flight have ended."
            )

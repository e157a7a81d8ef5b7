"""What can be asked of the ledger, and what it answers. Amounts are nano-USD, counts are tokens."""

from dataclasses import dataclass
from enum import Enum

from llmdeal_litellm.policy.pricing import HoldTerms, Quote
from llmdeal_litellm.policy.usage import NO_CLAIM, Billed, Claim, Rule

HOUSE_REVENUE = "revenue"
HOUSE_TOPUPS = "topups"
HOUSE_LOSS = "loss"
HOUSE_UPSTREAM_COST = "upstream_cost"


class Reason(Enum):
    """Why a hold was refused, in the order in which they are checked."""

    REVOKED = "revoked"
    FROZEN = "frozen"
    OPEN_HOLDS = "open_holds"
    KEY_CAP = "key_cap"
    FUNDS = "funds"


@dataclass(frozen=True, slots=True)
class PaidRates:
    """What the first candidate costs us, pico-USD per token."""

    input: int
    output: int


@dataclass(frozen=True, slots=True)
class OpenHold:
    """Reserve funds for one request (or one leg of it)."""

    request_id: str
    account_id: str
    wallet: str
    key_id: str
    alias: str
    quote: Quote
    rate_version: str
    paid: PaidRates | None = None
    leg: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """The hold exists and is durable."""

    terms: HoldTerms


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was held. `available` and `held` are of what refused: the wallet, or the key's cap."""

    reason: Reason
    required: int = 0
    available: int = 0
    held: int = 0


@dataclass(frozen=True, slots=True)
class CloseHold:
    """End a hold: `billed` None gives everything back, otherwise it is charged at the hold's rates.

    With the rule EMPTY_ANSWER, `billed` is what is charged once the key's refunds of the day are used up.
    """

    request_id: str
    rule: Rule
    billed: Billed | None
    claim: Claim = NO_CLAIM
    served_by: str | None = None
    leg: int = 0


@dataclass(frozen=True, slots=True)
class Closed:
    """How the hold ended. `already` when it had ended before: nothing changed now."""

    charge: int
    rule: Rule
    already: bool = False


@dataclass(frozen=True, slots=True)
class MarkDelivered:
    """Output has reached the caller: what a crash after this is billed by."""

    request_id: str
    output_tokens: int
    leg: int = 0


@dataclass(frozen=True, slots=True)
class Credit:
    """Money in. `note` is the operator's."""

    account_id: str
    wallet: str
    amount: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Dispute:
    """A payment was taken back: take what is available, the rest is the house's loss, freeze the account."""

    account_id: str
    wallet: str
    amount: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Balance:
    """A wallet after an operation."""

    balance: int
    held: int

    @property
    def available(self) -> int:
        """What can still be held."""
        return self.balance - self.held


@dataclass(frozen=True, slots=True)
class Unknown:
    """The operation names an account, key or hold that does not exist."""

    what: str


Op = OpenHold | CloseHold | MarkDelivered | Credit | Dispute
Result = Held | Refused | Closed | Balance | Unknown

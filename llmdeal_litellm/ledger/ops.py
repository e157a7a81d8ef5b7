"""What can be asked of the ledger, and what it answers. Amounts are nano-USD, counts are tokens."""

from enum import Enum

from llmdeal_litellm.catalog.model import Payee
from llmdeal_litellm.policy.pricing import HoldTerms, Quote
from llmdeal_litellm.policy.usage import NO_CLAIM, Billed, Claim, Rule
from llmdeal_litellm.values import value

HOUSE_REVENUE = "revenue"
HOUSE_TOPUPS = "topups"
HOUSE_LOSS = "loss"
HOUSE_UPSTREAM_COST = "upstream_cost"
CANARIES = "canaries"
"""The house's own account, and its key: whose requests partners' machines are checked with. It is given what
each of its holds needs, and what it is charged beyond a partner's share is no revenue."""
PAYABLE = "payable:"
"""In front of a partner's id: what the house owes him."""
REFUND = "refund"
"""The rule of a credit that gives a charge back."""


class Reason(Enum):
    """Why a hold was refused, in the order in which they are checked."""

    REVOKED = "revoked"
    REPEATED = "repeated"
    """A request with the same Idempotency-Key came first."""
    FROZEN = "frozen"
    OPEN_HOLDS = "open_holds"
    KEY_CAP = "key_cap"
    KEY_CAP_DAY = "key_cap_day"
    KEY_CAP_MONTH = "key_cap_month"
    FUNDS = "funds"


@value
class PaidRates:
    """What the first candidate costs us, pico-USD per token."""

    input: int
    output: int


@value
class Idempotency:
    """What makes a repeated request known: digests of the caller's key and of the body, in hex."""

    key_digest: str
    body_digest: str


@value
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
    idempotency: Idempotency | None = None


@value
class Held:
    """The hold exists and is durable."""

    terms: HoldTerms


@value
class Refused:
    """Nothing was held. `available` and `held` are of what refused: the wallet, or the key's cap."""

    reason: Reason
    required: int = 0
    available: int = 0
    held: int = 0


@value
class ExtendHold:
    """Let a hold cover an answer of `output_limit` tokens, or as many of them as can be paid for."""

    request_id: str
    output_limit: int
    leg: int = 0


@value
class Extended:
    """The answer that the hold now covers, in tokens; no more than before when nothing could be added."""

    output_limit: int


@value
class CloseHold:
    """End a hold: `billed` None gives everything back, otherwise it is charged at the hold's rates.

    With the rule EMPTY_ANSWER, `billed` is what is charged once the key's refunds of the day are used up.
    `answer` is kept, encrypted, for a repetition of a request that named an Idempotency-Key. `payee` gets his
    share of what is charged.
    """

    request_id: str
    rule: Rule
    billed: Billed | None
    claim: Claim = NO_CLAIM
    served_by: str | None = None
    leg: int = 0
    answer: str | None = None
    payee: Payee | None = None


@value
class Closed:
    """How the hold ended. `already` when it had ended before, as this says: nothing changed now."""

    charge: int
    rule: Rule
    already: bool = False


@value
class MarkDelivered:
    """Output has reached the caller: what a crash after this is billed by, and who is paid for it."""

    request_id: str
    output_tokens: int
    leg: int = 0
    payee: Payee | None = None


@value
class Credit:
    """Money in. `note` is the operator's."""

    account_id: str
    wallet: str
    amount: int
    note: str = ""


@value
class Dispute:
    """A payment was taken back: take what is available, the rest is the house's loss, freeze the account."""

    account_id: str
    wallet: str
    amount: int
    note: str = ""


@value
class Refund:
    """Give a charge back, once: to the wallet `charged` nano-USD, from the payee his share, as posted."""

    account_id: str
    wallet: str
    request_id: str
    leg: int
    charged: int
    alias: str
    payee: Payee | None = None
    note: str = ""


@value
class Refunded:
    """The charge was given back before; nothing changed now."""


@value
class Balance:
    """A wallet after an operation."""

    balance: int
    held: int

    @property
    def available(self) -> int:
        """What can still be held."""
        return self.balance - self.held


@value
class Unknown:
    """The operation names an account, key or hold that does not exist."""

    what: str


OfMoney = Credit | Dispute | Refund
"""What an operator does."""
Op = OpenHold | ExtendHold | CloseHold | MarkDelivered | OfMoney
OfHold = ExtendHold | CloseHold | MarkDelivered
"""What happens to a hold that is open."""
Result = Held | Extended | Refused | Closed | Balance | Refunded | Unknown

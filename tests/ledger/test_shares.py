"""Who earns a charge: a partner his share, the house the rest, in the transaction of the charge; and a refund
takes both back."""

import pytest

from llmdeal_litellm.accounts.partner_statements import partner_pages, partner_statement
from llmdeal_litellm.accounts.partners import Machine, NameTaken, Partners, key_of
from llmdeal_litellm.accounts.refunds import AlreadyRefunded, NothingCharged, refund
from llmdeal_litellm.accounts.sealing import Cipher
from llmdeal_litellm.catalog.model import Payee
from llmdeal_litellm.ledger.database import StatementRefused
from llmdeal_litellm.ledger.ops import CloseHold, Credit, MarkDelivered, Refund, Refunded
from llmdeal_litellm.money import BASIS_POINTS
from llmdeal_litellm.policy.usage import Billed, Rule

from .bank import Bank, open_hold, quote
from .places import Place

FUNDS = 1_000_000
KEYS = (bytes(32),)


class Shop:
    """A bank with one account and one partner."""

    def __init__(self, place: Place) -> None:
        self.bank = Bank(place)
        self.account = self.bank.account()
        self.key = self.bank.key(self.account)
        self.bank.do(Credit(self.account, "base", FUNDS))
        self.partners = Partners(self.bank.database, KEYS)
        machine = Machine("gpu-1", "consortium-x", "https://gpu1.example.com/v1", "m", 4, 7000, "sk-secret")
        self.partner = self.partners.add(machine, random_8_bytes=bytes(8), now_us=0)

    def charge(self, request: str, output: int, share: int | None = 7000) -> None:
        """A request that is charged 100 nano-USD for its input and one for each output token."""
        payee = None if share is None else Payee(self.partner.id, share)
        self.bank.do(open_hold(request, self.account, self.key, quote(100, 5000)))
        self.bank.do(CloseHold(request, Rule.COMPLETED, Billed(100, output), payee=payee))

    def refund(self, request: str) -> int:
        """The operator gives it back; returns how much."""
        return refund(self.bank.database, request, note="ticket 7", now_us=self.bank.now_us).amount

    def house(self) -> tuple[int, int]:
        """What the partner is owed, and our revenue."""
        found = self.bank.house()
        return found.get(f"payable:{self.partner.id}", 0), found.get("revenue", 0)

    def entries(self) -> list[tuple[str, int, int, int]]:
        """The partner's statement: kind, charge, change and what he is owed."""
        found = partner_statement(self.bank.database, "gpu-1", until_us=self.bank.now_us + 1)
        return [
            ("refund" if e.is_refund else "charge", e.charged, e.payable_change, e.payable_after)
            for page in partner_pages(self.bank.database, found)
            for e in page
        ]


@pytest.fixture
def shop(store: Place) -> Shop:
    """In each kind of store."""
    return Shop(store)


@pytest.mark.parametrize(
    ("charged", "share", "partners"),
    [
        (100, 7000, 70),
        (101, 7000, 70),
        (109, 7000, 76),
        (100, 0, 0),
        (133, 10_000, 133),
        (101, 1, 0),
        (3333, 3333, 1110),
    ],
)
def test_a_charge_is_shared_to_the_nano_usd(shop: Shop, charged: int, share: int, partners: int) -> None:
    """The partner gets his share rounded down, the house all the rest."""
    shop.charge("r1", charged - 100, share)

    assert shop.house() == (partners, charged - partners)
    assert shop.bank.wallet(shop.account).balance == FUNDS - charged
    assert shop.bank.failed() == {}


def test_what_is_given_back_pays_nobody(shop: Shop) -> None:
    """A void names no payee, whoever served."""
    payee = Payee(shop.partner.id, 7000)
    for request, rule in (("r1", Rule.FAILED_BEFORE_OUTPUT), ("r2", Rule.EMPTY_ANSWER)):
        shop.bank.do(open_hold(request, shop.account, shop.key, quote(100, 50)))
        billed = Billed(100, 0) if rule is Rule.EMPTY_ANSWER else None
        shop.bank.do(CloseHold(request, rule, billed, payee=payee))

    assert shop.house() == (0, 0)
    assert shop.entries() == []


@pytest.mark.parametrize("marked", [True, False])
def test_a_crash_pays_whoever_had_delivered(shop: Shop, marked: bool) -> None:
    """Input and what was marked are charged and shared; without a mark nothing is."""
    shop.bank.do(open_hold("r1", shop.account, shop.key, quote(100, 500)))
    if marked:
        shop.bank.do(MarkDelivered("r1", 10, payee=Payee(shop.partner.id, 5000)))
        shop.bank.do(MarkDelivered("r1", 33))
    assert shop.bank.crash() == 1

    assert shop.house() == ((66, 67) if marked else (0, 0))
    assert shop.bank.failed() == {}


def test_a_refund_takes_back_what_each_earned_once(shop: Shop) -> None:
    """To the nano-USD; a second one changes nothing; the statement adds up."""
    shop.charge("r1", 33)
    shop.charge("r2", 1001)
    before = shop.house()
    shop.charge("r3", 7)
    assert shop.refund("r3") == 107
    assert shop.house() == before
    with pytest.raises(AlreadyRefunded):
        shop.refund("r3")

    assert shop.bank.wallet(shop.account).balance == FUNDS - 133 - 1101
    assert shop.entries() == [
        ("charge", 133, 93, 93),
        ("charge", 1101, 770, 863),
        ("charge", 107, 74, 937),
        ("refund", -107, -74, 863),
    ]
    assert shop.house() == (863, 133 + 1101 - 863)
    assert shop.bank.failed() == {}


def test_a_refund_of_all_legs(shop: Shop) -> None:
    """A request that was handed on was charged twice, and is given back whole."""
    for leg, payee in ((0, None), (1, Payee(shop.partner.id, 7000))):
        shop.bank.do(open_hold("r1", shop.account, shop.key, quote(100, 50), leg=leg))
        shop.bank.do(CloseHold("r1", Rule.COMPLETED, Billed(100, 10 * leg), leg=leg, payee=payee))

    assert shop.house() == (77, 133)
    assert shop.refund("r1") == 210
    assert shop.house() == (0, 0)


def test_a_refund_leaves_the_key_alone(shop: Shop) -> None:
    """Beside a hold that is refused on another day, too: what a key spent on its last day stays written."""
    shop.charge("r1", 33)
    key = shop.bank.database.rows("SELECT * FROM keys")
    shop.bank.now_us += 2 * 86_400_000_000
    refused = open_hold("r2", shop.account, shop.key, quote(10 * FUNDS, 50))
    shop.bank.together(refused, Refund(shop.account, "base", "r1", 0, 133, "x"))

    assert shop.bank.database.rows("SELECT * FROM keys") == key


def test_nothing_to_refund(shop: Shop) -> None:
    """An unknown request, one that was given back, one that runs, and one that cost nothing."""
    shop.bank.do(open_hold("r1", shop.account, shop.key, quote(100, 50)))
    shop.bank.do(open_hold("r2", shop.account, shop.key, quote(100, 50)))
    shop.bank.do(CloseHold("r2", Rule.FAILED_BEFORE_OUTPUT, None))
    for request in ("r0", "r1", "r2"):
        with pytest.raises(NothingCharged):
            shop.refund(request)


def test_the_store_itself_forbids_a_second_refund(shop: Shop) -> None:
    """Two operators at once: the one that comes second under the lock is told; a defect is refused."""
    shop.charge("r1", 33)
    op = Refund(shop.account, "base", "r1", 0, 133, "x", Payee(shop.partner.id, 7000))
    results = shop.bank.together(op, op)
    insert = (
        "INSERT INTO records (account_id, wallet, version, kind, balance_change, held_change, balance_after, "
        "held_after, at_us, request_id, leg, rule) "
        "VALUES (?, 'base', 99, 'credit', 0, 0, 0, 0, 0, 'r1', 0, 'refund')"
    )

    assert results[1] == Refunded()
    with pytest.raises(StatementRefused):
        shop.bank.database.run(insert, (shop.account,))


def test_a_statement_is_read_in_pages_and_between_days(shop: Shop) -> None:
    """Every entry once, whatever the size of a page, with what was owed before as its opening."""
    for number in range(10):
        shop.charge(f"r{number}", number)
        shop.bank.now_us += number % 3
    whole = shop.entries()
    middle = shop.bank.now_us - 4
    late = partner_statement(shop.bank.database, "gpu-1", since_us=middle, until_us=shop.bank.now_us + 1)
    entries = [e for page in partner_pages(shop.bank.database, late, 2) for e in page]

    assert [charged for _, charged, _, _ in whole] == list(range(100, 110))
    assert whole[-1][3] == sum(7 * n // 10 for n in range(100, 110))
    assert 0 < len(entries) < 10
    assert late.opening + sum(e.payable_change for e in entries) == whole[-1][3]
    assert entries[-1].payable_after == whole[-1][3]


def test_terms_stay_what_they_are(shop: Shop) -> None:
    """No partner is deleted, and neither his share nor his name changes; a taken name is refused."""
    for statement in (
        "UPDATE partners SET share = 8000",
        "UPDATE partners SET name = 'gpu-2'",
        "UPDATE partners SET alias = 'x'",
        "DELETE FROM partners",
        f"UPDATE partners SET capacity = 0, strikes = {BASIS_POINTS}",
    ):
        with pytest.raises(StatementRefused):
            shop.bank.database.run(statement)
    shop.partners.remove("gpu-1", now_us=1)
    with pytest.raises(NameTaken):
        shop.partners.add(
            Machine("gpu-1", "a", "https://x.example", "m", 1, 0), random_8_bytes=b"12345678", now_us=0
        )


def test_a_key_is_kept_sealed_and_bound_to_its_machine(shop: Shop) -> None:
    """Nobody reads it without the secret, nor for another machine."""
    other = shop.partners.add(
        Machine("gpu-2", "a", "https://x.example", "m", 1, 0), random_8_bytes=b"12345678", now_us=0
    )
    stored = shop.bank.database.rows("SELECT sealed_key FROM partners WHERE name = 'gpu-1'")[0][0]
    swapped = shop.partners.named("gpu-2")
    shop.bank.database.run("UPDATE partners SET sealed_key = ? WHERE name = 'gpu-2'", (stored,))

    assert "sk-secret" not in stored
    assert key_of(shop.partner, Cipher(*KEYS)) == "sk-secret"
    assert key_of(shop.partner, Cipher(bytes(31) + b"1")) is None
    assert key_of(other, Cipher(*KEYS)) == key_of(swapped, Cipher(*KEYS)) == ""
    assert key_of(shop.partners.named("gpu-2"), Cipher(*KEYS)) is None


def test_a_probe_is_claimed_by_one_and_due_again_later(shop: Shop) -> None:
    """Whoever comes second gets none; what the operator said meanwhile stays."""
    assert [p.name for p in shop.partners.claim([60_000_000, 60_000_000])] == ["gpu-1"]
    assert shop.partners.claim([60_000_000]) == []
    assert shop.partners.probed(shop.partner.id, "")
    assert not shop.partners.probed(shop.partner.id, "")
    assert shop.partners.named("gpu-1").state.value == "active"
    shop.partners.pause("gpu-1", now_us=2)
    assert not shop.partners.probed(shop.partner.id, "")
    assert shop.partners.named("gpu-1").state.value == "paused"
    shop.partners.resume("gpu-1", now_us=3)
    assert [p.name for p in shop.partners.claim([1])] == ["gpu-1"]

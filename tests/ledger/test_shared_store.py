"""Several gateways on one store: exact together, whoever holds and whoever settles."""

import asyncio

import pytest

from llmdeal_litellm.ledger.ops import (
    Balance,
    Closed,
    CloseHold,
    Credit,
    Held,
    Idempotency,
    OpenHold,
    Reason,
    Refused,
)
from llmdeal_litellm.ledger.rows import US_PER_S, Lease
from llmdeal_litellm.ledger.writer import GroupLedger
from llmdeal_litellm.policy.usage import Rule

from .bank import Bank, open_hold, quote
from .places import Place
from .running import HOLD, Shop, paid, running, until

pytestmark = pytest.mark.asyncio

OTHER = Lease("other", 60 * US_PER_S)


@pytest.mark.parametrize("affordable", [1, 137])
async def test_exactly_what_the_balance_affords(postgres_store: Place, affordable: int) -> None:
    """Of 500 requests at three gateways at once, exactly as many are held as the balance pays for."""
    shop = Shop(postgres_store, funds=affordable * HOLD, keys=20)
    async with (
        running(shop) as first,
        running(shop, lease=OTHER) as second,
        running(shop, lease=Lease("third", OTHER.us)) as third,
    ):
        ledgers: list[GroupLedger] = [first, second, third]
        answers = await asyncio.gather(
            *(ledgers[n % 3].open_hold(shop.request(f"r{n}", n % 20)) for n in range(500))
        )
        balance = shop.balance()
        held = [n for n, answer in enumerate(answers) if isinstance(answer, Held)]
        # Ended by another gateway than the one that opened it, as after a crash.
        ends = await asyncio.gather(*(ledgers[(n + 1) % 3].close_hold(paid(f"r{n}")) for n in held))

    assert affordable == len(held)
    assert 500 - affordable == sum(isinstance(a, Refused) and a.reason is Reason.FUNDS for a in answers)
    assert Balance(affordable * HOLD, affordable * HOLD) == balance
    assert ends == [Closed(HOLD, Rule.COMPLETED)] * affordable
    assert shop.balance() == Balance(0, 0)
    assert shop.failed() == {}


async def test_open_holds_of_a_key_are_bounded(postgres_store: Place) -> None:
    """Of 100 requests of one key at two gateways, 32 are held whatever the balance."""
    shop = Shop(postgres_store, funds=100 * HOLD)
    async with running(shop) as first, running(shop, lease=OTHER) as second:
        answers = await asyncio.gather(
            *((first, second)[n % 2].open_hold(shop.request(f"r{n}")) for n in range(100))
        )
    assert [sum(isinstance(a, Held) for a in answers), answers.count(Refused(Reason.OPEN_HOLDS))] == [
        32,
        68,
    ]


async def test_a_hold_that_others_ended_is_known_to_be_lost(postgres_store: Place) -> None:
    """From the next time the leases are renewed: no answer is given for it, while others go on."""
    shop = Shop(postgres_store, funds=3 * HOLD)
    async with running(shop, lease=Lease("stood still", US_PER_S)) as ledger:
        for name in ("lost", "kept"):
            assert isinstance(await ledger.open_hold(shop.request(name)), Held)
        with shop.bank() as reaper:
            reaper.do(CloseHold("lost", Rule.CRASH_UNDELIVERED, None))
        await until(lambda: not ledger.still_holds("lost"))
        assert ledger.still_holds("kept")

        assert await ledger.close_hold(paid("lost")) == Closed(0, Rule.CRASH_UNDELIVERED, already=True)
        assert await ledger.close_hold(paid("kept")) == Closed(HOLD, Rule.COMPLETED)
    assert shop.failed() == {}


async def test_of_repetitions_at_two_gateways_one_runs(postgres_store: Place) -> None:
    """The store decides which: one holds, all others are told that it runs."""
    shop = Shop(postgres_store, funds=1000 * HOLD)

    def op(turn: int, n: int) -> OpenHold:
        named = Idempotency(f"{turn:064x}", "bb" * 32)
        return open_hold(f"r{turn}-{n}", shop.account, shop.keys[0], quote(100, 100), idempotency=named)

    async with running(shop) as first, running(shop, lease=OTHER) as second:
        for turn in range(10):
            answers = await asyncio.gather(*((first, second)[n % 2].open_hold(op(turn, n)) for n in range(8)))
            assert sum(isinstance(answer, Held) for answer in answers) == 1
            assert answers.count(Refused(Reason.REPEATED)) == 7


async def test_many_accounts_in_any_order(postgres_store: Place) -> None:
    """Two gateways that touch the same accounts in opposite orders do not lock each other out."""
    shop, bank = Shop(postgres_store, funds=HOLD), Bank(postgres_store)
    accounts = [bank.account(f"a{n}") for n in range(12)]
    keys = [bank.key(account) for account in accounts]
    bank.together(*(Credit(account, "base", 100 * HOLD) for account in accounts))

    def op(worker: int, turn: int, n: int) -> OpenHold:
        return open_hold(f"w{worker}-{turn}-{n}", accounts[n], keys[n], quote(100, 100))

    async with running(shop) as first, running(shop, lease=OTHER) as second:
        for turn in range(20):
            forth, back = range(12), reversed(range(12))
            await asyncio.gather(
                *(first.open_hold(op(1, turn, n)) for n in forth),
                *(second.open_hold(op(2, turn, n)) for n in back),
            )
            await asyncio.gather(
                *(first.close_hold(paid(f"w1-{turn}-{n}")) for n in reversed(range(12))),
                *(second.close_hold(paid(f"w2-{turn}-{n}")) for n in range(12)),
            )
        assert first.healthy
        assert second.healthy
    assert {bank.wallet(account).balance for account in accounts} == {60 * HOLD}
    assert bank.failed() == {}

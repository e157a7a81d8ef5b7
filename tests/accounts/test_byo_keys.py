"""How the gateway looks up own upstream keys: what it remembers, for how long, and what it never shows."""

import secrets
from dataclasses import dataclass, field

import pytest

from llmdeal_litellm.accounts import byo
from llmdeal_litellm.accounts.byo import ByoKeys, place_of
from llmdeal_litellm.accounts.callers import AccountsDown
from llmdeal_litellm.accounts.sealing import Cipher
from llmdeal_litellm.ledger.database import Row, StoreFailed, Values

CIPHER = Cipher(secrets.token_bytes(32))
KEY = "own-0123456789abcdef"
BELIEVED_S = 1.0


def row(account_id: str, alias: str = "byo-x", provider: str = "p") -> Row:
    """A row of the table."""
    sealed = CIPHER.seal(KEY.encode(), place_of(account_id, alias, provider))
    return (account_id, alias, provider, "m", "chat", 1000, 100, 0, 0, None, CIPHER.key_id, sealed, 1)


@dataclass
class Rows:
    """A reader of given rows that counts, and may be away or interrupted."""

    kept: list[Row]
    reads: int = 0
    away: bool = False
    meanwhile: list[ByoKeys] = field(default_factory=list)

    async def rows(self, select: str, values: Values = ()) -> list[Row]:
        """Those of the account."""
        self.reads += 1
        if self.away:
            raise StoreFailed("away")
        found = [one for one in self.kept if one[0] in values]
        for keys in self.meanwhile:
            keys.forget()
        return found

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class Clock:
    """Seconds that pass when told to."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


def made(*rows: Row, most: int = 100) -> tuple[ByoKeys, Rows, Clock]:
    """The keys of one provider, their reader and their clock."""
    reader, clock = Rows(list(rows)), Clock()
    return ByoKeys(reader, CIPHER, {"p": "https://p.test"}, clock, BELIEVED_S, most), reader, clock


async def test_a_row_is_an_alias_with_its_key() -> None:
    """One upstream at the provider's address, free, named by account and alias."""
    keys, _, _ = made(row("a"))
    found = await keys.find("a", "byo-x")

    assert found is not None
    assert (found.own_key, found.rates, found.counted_as) == (True, byo.FREE, "byo")
    [member] = found.members
    assert (member.deployment.id, member.deployment.api_base) == ("a/byo-x", "https://p.test")
    assert member.deployment.api_key is not None
    assert member.deployment.api_key.reveal() == KEY
    assert KEY not in repr(found)


async def test_lists_have_no_keys() -> None:
    """What is only shown is not decrypted."""
    keys, _, _ = made(row("a"))
    assert [m.deployment.api_key for m in (await keys.aliases("a"))["byo-x"].members] == [None]


async def test_rows_are_read_once_in_a_while() -> None:
    """Also that there are none; after its time, or when told, it is read anew."""
    keys, reader, clock = made(row("a"))
    for _ in range(3):
        assert await keys.find("a", "byo-x")
        assert await keys.find("b", "byo-x") is None
    assert reader.reads == 2
    clock.now_s = BELIEVED_S
    await keys.find("a", "byo-x")
    keys.forget()
    await keys.aliases("a")
    assert reader.reads == 4


async def test_a_removal_is_noticed() -> None:
    """At once when told, otherwise after the time that rows are believed."""
    keys, reader, clock = made(row("a"))
    await keys.find("a", "byo-x")
    reader.kept.clear()
    assert await keys.find("a", "byo-x")
    clock.now_s = BELIEVED_S
    assert await keys.find("a", "byo-x") is None


async def test_what_was_read_during_a_change_is_not_remembered() -> None:
    """It may be older than the change."""
    keys, reader, _ = made(row("a"))
    reader.meanwhile = [keys]
    await keys.find("a", "byo-x")
    await keys.find("a", "byo-x")
    assert reader.reads == 2


async def test_the_memory_is_bounded() -> None:
    """Beyond the bound the account that was looked up longest ago is forgotten."""
    keys, reader, _ = made(most=2)
    for account in ("a", "b", "a", "c", "a"):
        await keys.aliases(account)
    assert reader.reads == 3
    await keys.aliases("b")
    assert reader.reads == 4


async def test_a_store_that_is_away_is_no_answer() -> None:
    """Neither "no such alias" nor an old row."""
    keys, reader, clock = made(row("a"))
    await keys.find("a", "byo-x")
    reader.away, clock.now_s = True, BELIEVED_S
    with pytest.raises(AccountsDown):
        await keys.find("a", "byo-x")


async def test_a_provider_that_is_not_allowed_any_more() -> None:
    """Its aliases are unknown; the rows stay where they are."""
    keys, _, _ = made(row("a"), row("a", "byo-y", "q"))
    assert list(await keys.aliases("a")) == ["byo-x"]
    assert await keys.find("a", "byo-y") is None


async def test_a_key_that_cannot_be_decrypted(caplog: pytest.LogCaptureFixture) -> None:
    """The alias is there and cannot be called; the operator is told which key it is under, not what it is."""
    keys, _, _ = made(("a", *row("b")[1:]))
    found = await keys.find("a", "byo-x")
    assert found is not None
    assert found.members[0].deployment.reachable is False
    assert CIPHER.key_id in caplog.text
    assert KEY not in caplog.text

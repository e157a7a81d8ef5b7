"""A key's caps over its life, a UTC day and a UTC month, as an operator sets and sees them."""

from llmdeal_litellm.ledger.ops import Closed, Held, Reason, Refused

from .books import do, hold, post, store_of
from .operator_command import Operator

CAPS = ("cap_usd", "day_cap_usd", "month_cap_usd")
SPENT = ("spent_usd", "day_spent_usd", "month_spent_usd")


def test_caps_are_set_one_by_one(any_operator: Operator) -> None:
    """Minted with some, changed and lifted, each for itself; zero is a cap."""
    account = any_operator.account()
    minted = any_operator.ok("key", "mint", account, "--cap", "50", "--cap-day", "5", "--cap-month", "20.5")
    key = minted["key_id"]
    assert [minted[name] for name in CAPS] == ["50.00", "5.00", "20.50"]
    assert [minted[name] for name in SPENT] == ["0.00"] * 3
    bare = any_operator.ok("key", "mint", account)
    assert [bare[name] for name in CAPS] == [None] * 3
    by_day = any_operator.ok("key", "mint", account, "--cap-day", "1")
    assert [by_day[name] for name in CAPS] == [None, "1.00", None]

    expected = ["50.00", "5.00", "20.50"]
    for words, place, value in (
        (("2", "--per", "day"), 1, "2.00"),
        (("0", "--per", "month"), 2, "0.00"),
        (("none", "--per", "day"), 1, None),
        (("12.5",), 0, "12.50"),
        (("none", "--per", "life"), 0, None),
        (("none", "--per", "month"), 2, None),
    ):
        expected = [*expected[:place], value, *expected[place + 1 :]]
        changed = any_operator.ok("key", "cap", key, *words)
        assert [changed[name] for name in CAPS] == expected
        listed = [k for k in any_operator.ok("key", "list", account)["keys"] if k["key_id"] == key]
        assert listed == [changed]


def test_what_was_spent_today_and_this_month(any_operator: Operator) -> None:
    """What was spent on another day or in another month is not of today; over the life it is."""
    account = any_operator.account(credit="5")
    minted = any_operator.ok("key", "mint", account, "--cap-day", "1")
    key = minted["key_id"]

    def spent() -> list[str]:
        return [any_operator.ok("key", "list", account)["keys"][0][name] for name in SPENT]

    with store_of(any_operator) as database:
        assert isinstance(do(database, hold("req_1", account, key, 500)), Held)
        assert any_operator.ok("key", "list", account)["keys"][0]["held_usd"] == "0.00000051"
        assert isinstance(do(database, post("req_1", 90)), Closed)
        assert spent() == ["0.0000001"] * 3
        with database.write():
            database.run("UPDATE keys SET day = day - 1")
        assert spent() == ["0.0000001", "0.00", "0.0000001"]
        with database.write():
            database.run("UPDATE keys SET month = month - 1")
        assert spent() == ["0.0000001", "0.00", "0.00"]
    assert any_operator.ok("ledger", "verify")["ok"] is True


def test_a_cap_that_was_set_holds(any_operator: Operator) -> None:
    """The next hold beyond it is refused; once it is lifted the hold is there."""
    account = any_operator.account(credit="5")
    key = any_operator.ok("key", "mint", account)["key_id"]
    with store_of(any_operator) as database:
        for turn, (span, reason) in enumerate(
            [("life", Reason.KEY_CAP), ("day", Reason.KEY_CAP_DAY), ("month", Reason.KEY_CAP_MONTH)]
        ):
            any_operator.ok("key", "cap", key, "0.00000001", "--per", span)
            refused = do(database, hold(f"req_{turn}", account, key, 500))
            assert isinstance(refused, Refused)
            assert refused.reason is reason
            any_operator.ok("key", "cap", key, "none", "--per", span)
            assert isinstance(do(database, hold(f"req_{turn}", account, key, 500)), Held)


def test_the_table_shows_the_caps(new_operator: Operator) -> None:
    """Amounts by their point, and none where there is none."""
    account = new_operator.account()
    new_operator.ok("key", "mint", account, "--cap-day", "5")
    new_operator.ok("key", "mint", account, "--cap-month", "0.000001")
    titles, first, second = new_operator.run("key", "list").out.splitlines()
    assert "day cap USD  month cap USD  created at" in titles
    assert first.split()[3:8] == ["none", "0.00", "0.00", "5.00", "none"]
    assert second.split()[3:8] == ["none", "0.00", "0.00", "none", "0.000001"]


def test_refusals(new_operator: Operator) -> None:
    """Each cap is an amount like any other, and nothing is minted or changed when one is not."""
    account = new_operator.account()
    for option in ("--cap", "--cap-day", "--cap-month"):
        assert "outside 0 to 1000000 USD" in new_operator.refused("key", "mint", account, option, "-1")
        assert "finer than" in new_operator.refused("key", "mint", account, option, "1e-10")
        assert "not an amount" in new_operator.refused("key", "mint", account, option, "none")
    assert new_operator.ok("key", "list", account)["keys"] == []
    key = new_operator.ok("key", "mint", account, "--cap-day", "5")["key_id"]
    assert "is not one of 'life', 'day', 'month'" in new_operator.refused(
        "key", "cap", key, "5", "--per", "week"
    )
    assert "not an amount" in new_operator.refused("key", "cap", key, "off", "--per", "day")
    assert new_operator.ok("key", "list", account)["keys"][0]["day_cap_usd"] == "5.00"

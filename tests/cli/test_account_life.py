"""The life of an account and of its keys, as an operator sees it."""

import re

from .operator_command import Operator


def test_a_new_account_is_empty(operator: Operator) -> None:
    """Creating prints the account; showing it prints the same."""
    made = operator.ok("account", "create", "--name", "Ada Lovelace", "--tier", "pro")
    assert re.fullmatch(r"acct_[0-9a-f]{16}", made["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", made["created_at"])
    assert made == {
        "id": made["id"],
        "name": "Ada Lovelace",
        "tier": "pro",
        "frontier_addon": False,
        "frozen": False,
        "keys": 0,
        "created_at": made["created_at"],
        "balance_usd": "0.00",
        "held_usd": "0.00",
        "available_usd": "0.00",
        "frontier_usd": "0.00",
        "frontier_held_usd": "0.00",
        "frontier_available_usd": "0.00",
    }
    assert operator.ok("account", "show", made["id"]) == made
    assert made in operator.ok("account", "list")["accounts"]


def test_credits_add_up_to_the_nano_usd(operator: Operator) -> None:
    """Each wallet has its own money, and none of it is rounded."""
    account = operator.account()
    first = operator.ok("account", "credit", account, "0.1", "--note", "invoice 7")
    assert (first["credited_usd"], first["wallet"], first["balance_usd"]) == ("0.10", "base", "0.10")
    operator.ok("account", "credit", account, "0.2")
    operator.ok("account", "credit", account, "0.000000001")
    after = operator.ok("account", "credit", account, "999999.999999999", "--wallet", "frontier")
    assert after["balance_usd"] == after["available_usd"] == "0.300000001"
    assert after["frontier_usd"] == after["frontier_available_usd"] == "999999.999999999"
    assert operator.ok("account", "credit", account, "1e2")["balance_usd"] == "100.300000001"


def test_tier_addon_and_freeze(operator: Operator) -> None:
    """Each switch changes the one thing."""
    account = operator.account(tier="starter")
    assert operator.ok("account", "tier", account, "founder")["tier"] == "founder"
    assert operator.ok("account", "addon", account, "frontier", "on")["frontier_addon"] is True
    assert operator.ok("account", "addon", account, "frontier", "off")["frontier_addon"] is False
    assert operator.ok("account", "freeze", account)["frozen"] is True
    assert operator.ok("account", "freeze", account)["frozen"] is True
    shown = operator.ok("account", "unfreeze", account)
    assert (shown["frozen"], shown["tier"]) == (False, "founder")


def test_a_dispute_takes_what_is_there_and_freezes(operator: Operator) -> None:
    """More than the balance is never taken; the ledger stays right."""
    account = operator.account(credit="10")
    after = operator.ok("account", "dispute", account, "4", "--note", "chargeback 1")
    assert (after["disputed_usd"], after["balance_usd"], after["frozen"]) == ("4.00", "6.00", True)
    assert operator.ok("account", "dispute", account, "25")["balance_usd"] == "0.00"
    operator.ok("account", "credit", account, "3", "--wallet", "frontier")
    assert operator.ok("account", "dispute", account, "1", "--wallet", "frontier")["frontier_usd"] == "2.00"
    assert operator.ok("ledger", "verify")["ok"] is True


def test_the_life_of_a_key(operator: Operator) -> None:
    """Minted with a cap, listed without its secret, uncapped, capped again, revoked and still listed."""
    account = operator.account()
    minted = operator.ok("key", "mint", account, "--cap", "5")
    key_id, secret = minted["key_id"], minted["key"]
    assert re.fullmatch(r"key_[0-9a-f]{16}", key_id)
    assert re.fullmatch(r"lld_[0-9a-f]{32}", secret)
    listed = operator.run("key", "list", account, "--json")
    assert listed.json == {"keys": [{name: value for name, value in minted.items() if name != "key"}]}
    assert listed.json["keys"][0]["cap_usd"] == "5.00"
    assert operator.ok("key", "cap", key_id, "none")["cap_usd"] is None
    assert operator.ok("key", "cap", key_id, "0")["cap_usd"] == "0.00"
    assert operator.ok("key", "cap", key_id, "12.5")["cap_usd"] == "12.50"
    assert operator.ok("account", "show", account)["keys"] == 1
    assert operator.ok("key", "revoke", key_id)["revoked"] is True
    again = operator.ok("key", "revoke", key_id)
    assert operator.ok("key", "list", account)["keys"] == [again]
    assert operator.ok("account", "show", account)["keys"] == 0
    for answer in (listed, operator.run("key", "list"), operator.run("account", "show", account)):
        assert secret not in answer.out + answer.err


def test_the_secret_of_a_key_is_not_in_the_folder(operator: Operator) -> None:
    """The text of a key is stored nowhere."""
    secret = operator.ok("key", "mint", operator.account())["key"]
    for file in operator.folder.iterdir():
        content = file.read_bytes()
        assert secret.encode() not in content
        assert bytes.fromhex(secret.removeprefix("lld_")) not in content


def test_keys_are_listed_by_account_or_all(operator: Operator) -> None:
    """A key without a cap, of another account."""
    account, other = operator.account(), operator.account()
    mine, theirs = operator.ok("key", "mint", account), operator.ok("key", "mint", other)
    assert mine["cap_usd"] is None
    assert [k["key_id"] for k in operator.ok("key", "list", account)["keys"]] == [mine["key_id"]]
    assert {mine["key_id"], theirs["key_id"]} <= {k["key_id"] for k in operator.ok("key", "list")["keys"]}


def test_usage_of_an_account_that_was_never_charged(operator: Operator) -> None:
    """An empty list, with the days asked for."""
    account = operator.account(credit="1")
    assert operator.ok("usage", account) == {"days": None, "usage": [], "charged_usd": "0.00"}
    assert operator.ok("usage", account, "--days", "7")["days"] == 7
    assert operator.run("usage", account).out == "No charged requests.\n"


def test_text_for_people(new_operator: Operator) -> None:
    """Without --json: aligned lines, amounts by their decimal point, the key's warning beside the answer."""
    assert new_operator.run("account", "list").out.startswith("No accounts yet; make one with:")
    assert new_operator.run("key", "list").out.startswith("No keys yet; make one with:")
    small, large = new_operator.account(credit="0.000001"), new_operator.account(credit="1000")
    head, first, second = new_operator.run("account", "list").out.splitlines()
    assert head.split("  ")[0] == "id"
    assert head.endswith("name")
    assert first.startswith(small)
    assert second.startswith(large)
    assert first.index("0.000001") + 1 == second.index("1000.00") + 4
    shown = new_operator.run("account", "show", large).out.splitlines()
    assert "balance USD             1000.00" in shown
    minted = new_operator.run("key", "mint", large, "--cap", "5")
    assert minted.err == "Keep the key now: it is not stored and cannot be shown again.\n"
    assert re.search(r"^key +lld_[0-9a-f]{32}$", minted.out, re.MULTILINE)
    assert "yes" in new_operator.run("account", "freeze", small).out
    assert re.search(r"key_[0-9a-f]{16}.* no +5.00 ", new_operator.run("key", "list").out)

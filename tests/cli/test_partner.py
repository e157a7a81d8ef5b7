"""`llmdeal partner`: registering machines, what is refused, and what a partner earned."""

import csv
import io
from collections.abc import Iterator

import pytest

from llmdeal_litellm.catalog.model import Payee
from llmdeal_litellm.ledger.ops import CloseHold
from llmdeal_litellm.policy.usage import Billed, Rule

from .books import do, hold, store_of, void
from .operator_command import Operator

URL, ALIAS = "https://93.184.216.34/v1", "consortium-llama-70b"
TERMS = {
    "--url": URL,
    "--model": "llama-3.3-70b",
    "--alias": ALIAS,
    "--capacity": "4",
    "--share": "70",
}


def words(name: str = "gpu-1", **changed: str) -> list[str]:
    """The arguments of `partner add`, with some of the options changed."""
    terms = TERMS | {f"--{option}": value for option, value in changed.items()}
    return ["partner", "add", name, *(word for pair in terms.items() for word in pair)]


def test_a_machines_life(any_operator: Operator) -> None:
    """Registered, listed, paused, resumed and removed; each command shows the machine as it is then."""
    operator = any_operator
    added = operator.ok(*words(url=f"{URL}/", share="12.5"))
    states = [operator.ok("partner", word, "gpu-1")["state"] for word in ("pause", "resume", "remove")]
    listed = operator.ok("partner", "list")["partners"]

    assert added["id"].startswith("prt_")
    assert {n: added[n] for n in ("name", "alias", "base_url", "model", "capacity", "share_percent")} == {
        "name": "gpu-1",
        "alias": ALIAS,
        "base_url": URL,
        "model": "llama-3.3-70b",
        "capacity": 4,
        "share_percent": "12.5",
    }
    assert (added["state"], added["has_key"], added["probed_at"]) == ("probing", False, None)
    assert states == ["paused", "probing", "removed"]
    assert [(p["name"], p["state"], p["why"]) for p in listed] == [
        ("gpu-1", "removed", "removed by the operator")
    ]
    assert "'gpu-1' was removed" in operator.refused("partner", "resume", "gpu-1")
    assert "name 'gpu-1' is taken" in operator.refused(*words())


def test_a_key_comes_from_the_environment_and_is_not_shown(new_operator: Operator) -> None:
    """Its value is in no output and, in clear, not in the store."""
    operator = Operator(new_operator.folder, {"GPU1_KEY": "sk-of-the-machine"})
    ended = operator.run(*words(), "--api-key-env", "GPU1_KEY")
    listed = operator.run("partner", "list")

    assert ended.code == 0
    assert "has key        yes" in ended.out
    assert "sk-of-the-machine" not in ended.out + ended.err + listed.out
    assert b"sk-of-the-machine" not in operator.database.read_bytes()
    assert "NO_KEY has no key" in operator.refused(*words("gpu-2"), "--api-key-env", "NO_KEY")


@pytest.fixture(scope="module")
def used(operator: Operator) -> Iterator[Operator]:
    """A store for what is refused; nothing may be in it afterwards."""
    yield operator
    assert operator.ok("partner", "list") == {"partners": []}


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("url", "gpu1.example.com", "the address must be https://host"),
        ("url", "http://gpu1.example.com/v1", "use https, or let the operator list"),
        (
            "alias",
            "llama-3.3-70b",
            "'llama-3.3-70b' is no consortium alias; allowed by config.yaml: consortium-",
        ),
        ("share", "-1", "'-1' is outside 0 to 100 per cent"),
        ("share", "100.01", "'100.01' is outside 0 to 100 per cent"),
        ("share", "12.345", "finer than a hundredth of a per cent"),
        ("share", "most", "write a number such as 70 or 12.5"),
        ("capacity", "0", "'--capacity': 0 is not in the range"),
    ],
)
def test_what_is_refused(used: Operator, option: str, value: str, says: str) -> None:
    """Each wrong word is named, with what to write; nothing is registered."""
    assert says in used.refused(*words(**{option: value}))


@pytest.mark.parametrize("word", ["pause", "resume", "remove", "statement"])
def test_an_unknown_name(used: Operator, word: str) -> None:
    """It says where the names are."""
    assert used.refused("partner", word, "gpu-9") == "there is no partner 'gpu-9'; see: llmdeal partner list"


def test_a_statement_adds_up_also_after_a_refund(any_operator: Operator) -> None:
    """Charges of two accounts, one refunded: table, CSV and JSON tell the same, to the nano-USD."""
    operator = any_operator
    partner = operator.ok(*words(share="33.33"))["id"]
    accounts = [operator.account(credit="1") for _ in range(2)]
    ada, bob = ((account, operator.ok("key", "mint", account)["key_id"]) for account in accounts)
    with store_of(operator) as database:
        for number, (account, key, tokens) in enumerate(((*ada, 7), (*bob, 1001), (*ada, 20)), start=1):
            do(database, hold(f"r{number}", account, key, 2000))
            end = CloseHold(f"r{number}", Rule.COMPLETED, Billed(10, tokens), payee=Payee(partner, 3333))
            do(database, end)
        do(database, hold("r4", *ada, 2000))
        do(database, void("r4"))
    refunded = operator.ok("account", "refund", "r2", "--note", "ticket 7")
    found = operator.ok("partner", "statement", "gpu-1")
    printed = operator.run("partner", "statement", "gpu-1")
    lines = list(csv.DictReader(io.StringIO(operator.run("partner", "statement", "gpu-1", "--csv").out)))

    shown = ("kind", "charged_usd", "payable_change_usd", "payable_usd", "input_tokens", "output_tokens")
    entries = [tuple(entry[name] for name in shown) for entry in found["entries"]]
    assert entries == [
        ("charge", "0.000000017", "0.000000005", "0.000000005", 10, 7),
        ("charge", "0.000001011", "0.000000336", "0.000000341", 10, 1001),
        ("charge", "0.00000003", "0.000000009", "0.00000035", 10, 20),
        ("refund", "-0.000001011", "-0.000000336", "0.000000014", None, None),
    ]
    assert found["totals"] == {
        "charges": 3,
        "refunds": 1,
        "input_tokens": 30,
        "output_tokens": 1028,
        "charged_usd": "0.000000047",
        "payable_change_usd": "0.000000014",
        "revenue_usd": "0.000000033",
    }
    assert (found["opening_payable_usd"], found["closing_payable_usd"]) == ("0.00", "0.000000014")
    assert (refunded["refunded_usd"], refunded["from_partner_usd"]) == ("0.000001011", "0.000000336")
    assert [line["kind"] for line in lines] == ["opening", *["charge"] * 3, "refund", "total"]
    assert [line["payable_usd"] for line in lines[1:-1]] == [entry[3] for entry in entries]
    assert lines[-1]["payable_usd"] == "0.000000014"
    assert printed.out.endswith("gpu-1 is owed 0.000000014 USD\n")
    assert "the request 'r2' was refunded before" in operator.refused("account", "refund", "r2")
    assert "nothing was charged for the request 'r4'" in operator.refused("account", "refund", "r4")
    assert operator.ok("ledger", "verify")["ok"] is True


def test_a_statement_of_some_days(new_operator: Operator) -> None:
    """What came before is its opening, what comes after is not in it."""
    operator = new_operator
    partner, account = operator.ok(*words())["id"], operator.account(credit="1")
    key = operator.ok("key", "mint", account)["key_id"]
    with store_of(operator) as database:
        for day in (1, 2, 3):
            at_us = (20_000 + day) * 86_400_000_000
            do(database, hold(f"r{day}", account, key, 100), now_us=at_us)
            end = CloseHold(f"r{day}", Rule.COMPLETED, Billed(10, 10 * day), payee=Payee(partner, 5000))
            do(database, end, now_us=at_us)
    second = ("--since", "2024-10-06", "--until", "2024-10-06")
    found = operator.ok("partner", "statement", "gpu-1", *second)

    assert [entry["request_id"] for entry in found["entries"]] == ["r2"]
    assert (found["opening_payable_usd"], found["closing_payable_usd"]) == ("0.00000001", "0.000000025")
    assert "--since is after --until" in operator.refused(
        *("partner", "statement", "gpu-1", "--since", "2024-10-07", "--until", "2024-10-06")
    )

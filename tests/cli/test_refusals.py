"""What an operator may get wrong: every time a sentence, exit code 2, and nothing changed."""

import sqlite3

import pytest
from processes import free_port

from .operator_command import CONFIG, Operator

BAD_AMOUNTS = {
    "-5": "outside 0 to 1000000 USD",
    "NaN": "outside 0 to 1000000 USD",
    "-Infinity": "outside 0 to 1000000 USD",
    "1000000.000000001": "outside 0 to 1000000 USD",
    "1e-10": "finer than a billionth",
    "1e999999": "not an amount",
    "five": "not an amount",
    "5 USD": "not an amount",
    "0x10": "not an amount",
    "--5": "not an amount",
    " ": "at least one character",
}


@pytest.fixture(scope="module")
def account(operator: Operator) -> str:
    return operator.account(credit="7")


@pytest.mark.parametrize("amount", BAD_AMOUNTS)
def test_bad_amounts_move_nothing(operator: Operator, account: str, amount: str) -> None:
    """The sentence says what is wrong with the amount."""
    assert BAD_AMOUNTS[amount] in operator.refused("account", "credit", account, amount)
    assert operator.ok("account", "show", account)["balance_usd"] == "7.00"


def test_amounts_of_zero_move_nothing(operator: Operator, account: str) -> None:
    """Neither a credit nor a dispute of nothing is recorded."""
    for zero in ("0", "0.00", "-0", "0e9"):
        assert "write an amount above 0" in operator.refused("account", "credit", account, zero)
    assert "write an amount above 0" in operator.refused("account", "dispute", account, "0")
    assert operator.ok("account", "show", account)["frozen"] is False


def test_bad_amounts_elsewhere(operator: Operator, account: str) -> None:
    """Caps and disputes read amounts the same way."""
    key = operator.ok("key", "mint", account)["key_id"]
    assert "finer" in operator.refused("key", "mint", account, "--cap", "1e-10")
    assert "outside" in operator.refused("key", "mint", account, "--cap", "-1")
    assert "not an amount" in operator.refused("key", "cap", key, "off")
    assert "outside" in operator.refused("account", "dispute", account, "-1")
    assert [k["cap_usd"] for k in operator.ok("key", "list", account)["keys"]] == [None]


@pytest.mark.parametrize(
    "command",
    [
        ("account", "show", "acct_0"),
        ("account", "credit", "acct_0", "1"),
        ("account", "dispute", "acct_0", "1"),
        ("account", "tier", "acct_0", "pro"),
        ("account", "addon", "acct_0", "frontier", "on"),
        ("account", "freeze", "acct_0"),
        ("account", "unfreeze", "acct_0"),
        ("key", "mint", "acct_0"),
        ("key", "list", "acct_0"),
        ("usage", "acct_0"),
    ],
    ids=" ".join,
)
def test_unknown_accounts(operator: Operator, command: tuple[str, ...]) -> None:
    """The sentence names the id and the command that lists the known ones."""
    assert operator.refused(*command) == "there is no account 'acct_0'; see: llmdeal account list"


def test_unknown_keys(operator: Operator) -> None:
    """The same for keys."""
    sentence = "there is no key 'key_0'; see: llmdeal key list"
    assert operator.refused("key", "cap", "key_0", "1") == sentence
    assert operator.refused("key", "revoke", "key_0") == sentence


def test_unknown_tiers_say_which_are_allowed(operator: Operator, account: str) -> None:
    """Tiers are those of the config file."""
    allowed = "allowed by config.yaml: free-trial, starter, pro, founder, charter, demo"
    assert (
        operator.refused("account", "create", "--name", "B", "--tier", "gold")
        == f"unknown tier 'gold'; {allowed}"
    )
    assert operator.refused("account", "tier", account, "Pro") == f"unknown tier 'Pro'; {allowed}"
    assert operator.ok("account", "show", account)["tier"] == "pro"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("account", "create", "--tier", "pro"), "Missing option '--name'"),
        (("account", "create", "--name", "a\nb", "--tier", "pro"), "printable characters"),
        (("account", "create", "--name", "\udcff", "--tier", "pro"), "printable characters"),
        (("account", "create", "--name", "x" * 201, "--tier", "pro"), "at most 200 characters"),
        (("account", "create", "--name", "", "--tier", "pro"), "at least one character"),
        (("account", "show"), "Missing argument 'ACCOUNT_ID'"),
        (("account", "credit", "acct_0", "1", "--wallet", "gold"), "'gold' is not one of 'base', 'frontier'"),
        (("account", "credit", "acct_0", "1", "2"), "unexpected extra argument"),
        (("account", "addon", "acct_0", "frontier", "maybe"), "is not one of 'on', 'off'"),
        (("account", "addon", "acct_0", "gold", "on"), "is not 'frontier'"),
        (("usage", "--days", "0"), "not in the range"),
        (("usage", "--days", "many"), "not a valid integer"),
        (("account", "delete"), "No such command 'delete'"),
        (("config", "check", "no-such-file.yaml"), "does not exist"),
        (("config", "check", "."), "is a directory"),
    ],
    ids=lambda value: (
        " ".join(value)[:40].encode("ascii", "replace").decode() if isinstance(value, tuple) else None
    ),
)
def test_bad_usage(operator: Operator, command: tuple[str, ...], said: str) -> None:
    """What is wrong, and where to read on."""
    sentence = operator.refused(*command)
    assert said in sentence
    assert "See: llmdeal" in sentence
    assert sentence.endswith("--help")


def test_no_arguments_show_the_help(operator: Operator) -> None:
    """On stderr, as bad usage."""
    for arguments in ((), ("account",), ("ledger",)):
        ended = operator.run(*arguments)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith("Usage: llmdeal")


def test_a_wrong_pepper_is_refused(operator: Operator, account: str) -> None:
    """Keys minted under another pepper would be of no use, so nothing is done under it."""
    stranger = Operator(operator.folder, {"LLMDEAL_KEY_PEPPER": "ab" * 32})
    assert "LLMDEAL_KEY_PEPPER is not the one" in stranger.refused("key", "mint", account)
    assert "LLMDEAL_KEY_PEPPER is not the one" in stranger.refused("account", "show", account)
    assert stranger.ok("ledger", "verify")["ok"] is True


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"LLMDEAL_KEY_PEPPER": "secret"}, "LLMDEAL_KEY_PEPPER must be 64 hex digits"),
        ({"LLMDEAL_ENCRYPTION_KEY": ""}, "LLMDEAL_ENCRYPTION_KEY must be 64 hex digits"),
        ({"LLMDEAL_DATABASE_URL": "mysql://x/y"}, "set sqlite:///FILE"),
        ({"LLMDEAL_REDIS_URL": "http://x"}, "LLMDEAL_REDIS_URL must be redis://"),
        ({"LLMDEAL_DATA_DIR": f"{CONFIG}/x"}, "cannot use the folder"),
        ({"LLMDEAL_DATABASE_URL": f"sqlite:///{CONFIG}/x/llmdeal.db"}, "cannot use the folder"),
        ({"LLMDEAL_CONFIG": "/nowhere/config.yaml"}, "cannot read the config file /nowhere/config.yaml"),
        ({"LLMDEAL_CONFIG": "/"}, "cannot read the config file /"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_bad_settings(new_operator: Operator, environment: dict[str, str], said: str) -> None:
    """The sentence names the variable or the file."""
    operator = Operator(new_operator.folder, environment)
    assert said in operator.refused("account", "create", "--name", "Ada", "--tier", "pro")


def test_a_config_file_without_tiers(new_operator: Operator) -> None:
    """The file's own problem is said with its line."""
    file = new_operator.folder / "config.yaml"
    operator = Operator(new_operator.folder, {"LLMDEAL_CONFIG": str(file)})
    create = ("account", "create", "--name", "Ada", "--tier", "pro")
    file.write_text("model_list: []\nllmdeal:\n  tiers: {}\n")
    assert operator.refused(*create) == f"{file}:3: llmdeal.tiers must list at least one tier"
    file.write_text("llmdeal: [\n")
    assert operator.refused(*create).startswith(f"{file}:2: not YAML")
    file.write_bytes(b"\xff\xfe")
    assert "not UTF-8 text" in operator.refused(*create)


def test_a_file_that_is_no_database(new_operator: Operator) -> None:
    """Exit code 3: the store cannot be used."""
    new_operator.database.write_text("this is not a database" * 100)
    said = new_operator.refused("account", "list", code=3)
    assert said.startswith(
        "the database cannot be used: file is not a database; check what LLMDEAL_DATABASE_URL"
    )


def test_a_server_that_is_not_there(new_operator: Operator) -> None:
    """Exit code 3, and the password is not repeated."""
    url = f"postgresql://ada:secret@127.0.0.1:{free_port()}/llmdeal"
    operator = Operator(new_operator.folder, {"LLMDEAL_DATABASE_URL": url})
    said = operator.refused("account", "list", code=3)
    assert said.startswith("the database cannot be used: ")
    assert said.endswith("check what LLMDEAL_DATABASE_URL names")
    assert "secret" not in said


def test_a_store_that_stays_locked(new_operator: Operator) -> None:
    """Reading goes on; a write gives up after its wait with exit code 3 and has changed nothing."""
    account = new_operator.account()
    other = sqlite3.connect(new_operator.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        assert "locked by another process; try again" in new_operator.refused(
            "account", "credit", account, "1", code=3
        )
        assert new_operator.ok("account", "show", account)["balance_usd"] == "0.00"
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert new_operator.ok("account", "credit", account, "1")["balance_usd"] == "1.00"

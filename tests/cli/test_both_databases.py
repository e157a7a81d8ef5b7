"""Every command that uses the database says the same over SQLite and over PostgreSQL."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .books import do, hold, post, store_of
from .operator_command import Operator

NAMED = re.compile(r"\b(?:acct|key)_[0-9a-f]{16}\b|\blld_[0-9a-f]{32}\b|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
"""What differs from store to store: ids, keys and times."""

UPSTREAM_KEY = "upstream-key"


def told(operator: Operator) -> list[str]:
    """What the commands print in one life of an account, each distinct name replaced by its number."""
    said: list[str] = []

    def run(*words: str) -> str:
        ended = operator.run(*words)
        said.append(f"{' '.join(words)} → {ended.code}\n{ended.out}{ended.err}")
        return ended.out

    account = json.loads(run("account", "create", "--name", "Ada Lovelace", "--tier", "pro", "--json"))["id"]
    key = json.loads(run("key", "mint", account, "--cap", "5", "--cap-day", "1", "--json"))["key_id"]
    run("account", "credit", account, "0.1", "--note", "invoice 7")
    run("account", "credit", account, "999999.999999999", "--wallet", "frontier")
    with store_of(operator) as database:
        for number in (1, 2):
            do(database, hold(f"req_{number}", account, key, 500))
        do(database, post("req_1", 90))
    run("account", "dispute", account, "25", "--note", "chargeback", "--json")
    run("account", "unfreeze", account)
    run("account", "freeze", account)
    run("account", "tier", account, "founder")
    run("account", "addon", account, "frontier", "on")
    run("key", "cap", key, "0.00000001", "--per", "month")
    for alias in ("byo-a", "byo-b"):
        run("byo", "add", account, alias, "--provider", "groq", "--model", "m", "--key-file", UPSTREAM_KEY)
    run("byo", "remove", account, "byo-a", "--json")
    run("key", "revoke", key, "--json")
    run("key", "revoke", key)
    run("key", "mint", account)
    for words in (
        ("account", "list"),
        ("account", "show", account),
        ("account", "statement", account),
        ("key", "list", account),
        ("byo", "list", account),
        ("usage", account),
        ("usage", "--days", "36500"),
        ("ledger", "verify"),
    ):
        run(*words)
        run(*words, "--json")
    run("account", "statement", account, "--csv", "--until", "9999-12-31")
    for refused in (
        ("account", "show", "acct_0"),
        ("account", "credit", "acct_0", "1"),
        ("account", "dispute", "acct_0", "1"),
        ("account", "freeze", "acct_0"),
        ("account", "statement", "acct_0"),
        ("key", "mint", "acct_0"),
        ("key", "cap", "key_0", "1"),
        ("key", "revoke", "key_0"),
        ("byo", "remove", account, "byo-a"),
        ("byo", "list", "acct_0"),
    ):
        run(*refused)
    return numbered(said)


def numbered(texts: list[str]) -> list[str]:
    """The texts with names in place of what differs: the first time that was printed is `time 1`."""
    known: dict[str, str] = {}

    def name(found: re.Match[str]) -> str:
        kind = found[0][:3] if not found[0][0].isdigit() else "time"
        # All times of a run are one: how many seconds it took is nothing of the database's.
        return "time" if kind == "time" else known.setdefault(found[0], f"{kind} {len(known)}")

    return [NAMED.sub(name, text) for text in texts]


def test_the_same_is_said(tmp_path: Path, postgres_database: str) -> None:
    """Exit codes, tables, JSON and sentences."""
    of_file = Operator(tmp_path / "file", {"LLMDEAL_DATA_DIR": str(tmp_path / "file")})
    of_server = Operator(
        tmp_path / "server",
        {"LLMDEAL_DATABASE_URL": postgres_database, "LLMDEAL_DATA_DIR": str(tmp_path / "server")},
    )
    for operator in (of_file, of_server):
        operator.folder.mkdir()
        (operator.folder / UPSTREAM_KEY).write_text("own-0123456789abcdef\n")
        operator.ok("migrate")
    with ThreadPoolExecutor() as both:
        file, server = both.map(told, (of_file, of_server))
    assert file == server
    assert sum(" → 0\n" in text for text in file) == len(file) - 10
    assert "The ledger is right." in "".join(file)

"""`llmdeal byo` and `llmdeal secrets`: what is registered, what is refused, what the store shows of it."""

import secrets
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import yaml
from processes import byo_stand_ins, shipped_config, simulator_process

from llmdeal_litellm.accounts.admin import Admin
from llmdeal_litellm.accounts.byo import COLUMNS
from llmdeal_litellm.accounts.byo_admin import ALIASES_MAX, BadByo, ByoAdmin
from llmdeal_litellm.accounts.partners import Partners, key_of
from llmdeal_litellm.accounts.sealing import Cipher, key_id
from llmdeal_litellm.catalog.facts import UNKNOWN
from llmdeal_litellm.ledger.database import StatementRefused
from llmdeal_litellm.ledger.postgres_connection import SCHEMA
from llmdeal_litellm.settings import read_settings

from .books import store_of
from .operator_command import Operator

KEY = "own-0123456789-abcdefghijklmnop-WXYZ"
GPT = ("--provider", "openai", "--model", "gpt-4o")
MINE = "byo-mine"
OLD, NEW = (secrets.token_hex(32) for _ in range(2))


def under(operator: Operator, key: str, previous: str | None = None) -> Operator:
    """The same operator with these key-encryption keys in the environment."""
    more = {name: value for name, value in operator.more.items() if "ENCRYPTION" not in name}
    more["LLMDEAL_ENCRYPTION_KEY"] = key
    if previous is not None:
        more["LLMDEAL_ENCRYPTION_KEY_PREVIOUS"] = previous
    return replace(operator, more=more)


@contextmanager
def byo_of(operator: Operator) -> Iterator[ByoAdmin]:
    """What the commands do, in this process: a command takes half a second."""
    with store_of(operator) as database:
        yield ByoAdmin(database, read_settings(operator.environment()).encryption_keys)


def new_account(operator: Operator) -> str:
    """An account's id."""
    with store_of(operator) as database:
        database.migrate()
        admin = Admin(database, read_settings(operator.environment()).key_pepper)
        return admin.create_account("Ada", "pro", random_8_bytes=secrets.token_bytes(8), now_us=1)


def add(operator: Operator, account: str, alias: str = MINE, key: str = KEY) -> None:
    """Register a key."""
    with byo_of(operator) as admin:
        admin.add(account, alias, "openai", "gpt-4o", UNKNOWN, key, 1)


def dump(operator: Operator) -> str:
    """All that is in the store, as text, binary columns in hexadecimal."""
    url = operator.environment()["LLMDEAL_DATABASE_URL"]
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(operator.database)) as connection:
            return "\n".join(connection.iterdump()).lower()
    with psycopg.connect(url) as raw:
        select = "SELECT tablename FROM pg_tables WHERE schemaname = %s"
        tables = [table for (table,) in raw.execute(select, (SCHEMA,)).fetchall()]
        assert "byo_keys" in tables
        rows = [raw.execute(f"SELECT t::text FROM {SCHEMA}.{table} t").fetchall() for table in tables]
    return "\n".join(text for table in rows for (text,) in table).lower()


def opened(operator: Operator) -> dict[str, str]:
    """The keys of all accounts as gateways with this environment read them."""
    with byo_of(operator) as admin:
        found = list(admin.keys())
        return {key.alias: key.opened(admin.cipher).reveal() for key in found}


def test_the_life_of_a_key(any_operator: Operator) -> None:
    """Added, listed without the key, removed; the model's facts are those of the bundled table."""
    account = new_account(any_operator)
    expected = {
        "account_id": account,
        "alias": MINE,
        "provider": "openai",
        "model": "gpt-4o",
        "kind": "chat",
        "context_window": 128_000,
        "max_output_tokens": 16_384,
        "vision": True,
        "reasoning": False,
        "key": "…WXYZ",
    }
    added = any_operator.ok("byo", "add", account, MINE, *GPT, given=f"{KEY}\n")
    assert added == {**expected, "created_at": added["created_at"]}
    assert opened(any_operator) == {MINE: KEY}
    assert any_operator.ok("byo", "list", account) == {"byo": [added]}
    shown = any_operator.run("byo", "list").out
    assert f"…{KEY[-4:]}" in shown
    assert KEY[-5:] not in shown
    assert any_operator.ok("byo", "remove", account, MINE) == {**added, "removed": True}
    assert any_operator.ok("byo", "list") == {"byo": []}
    assert MINE in any_operator.refused("byo", "remove", account, MINE)


def test_a_key_from_a_file_and_facts_by_hand(operator: Operator) -> None:
    """The end of its line is no part of the key; what the operator says goes before what the table says."""
    account, file = new_account(operator), operator.folder / "key"
    file.write_text(f"{KEY}\r\n")
    by_hand = ("--context-window", "5000", "--max-output-tokens", "9000", "--vision", "--reasoning")
    words = ("--provider", "groq", "--model", "no/such-model", "--key-file", str(file), *by_hand)
    added = operator.ok("byo", "add", account, MINE, *words)

    assert opened(operator)[MINE] == KEY
    assert (added["context_window"], added["max_output_tokens"]) == (5000, 5000)
    assert (added["vision"], added["reasoning"]) == (True, True)
    embedding = operator.ok(
        "byo", "add", account, "byo-v", "--provider", "openai", "--model", "text-embedding-3-small", given=KEY
    )
    assert (embedding["kind"], embedding["context_window"]) == ("embedding", 8191)


REFUSED = {
    "alias": ("byo_x", *GPT, KEY, "byo-"),
    "provider": (MINE, "--provider", "acme", *GPT[2:], KEY, "openai, anthropic"),
    "model": (MINE, *GPT[:3], "whisper-1", KEY, "audio_transcription"),
    "two lines": (MINE, *GPT, f"{KEY}\n{KEY}\n", "more than one line"),
    "not ASCII": (MINE, *GPT, "schlüssel-schlüssel", "printable ASCII"),
    "very long": (MINE, *GPT, "a" * 100_000, "8 to 512"),
}
"""More of them in tests/accounts/test_byo_words.py."""


@pytest.fixture(scope="module")
def account(operator: Operator) -> str:
    """One for those who register nothing."""
    return new_account(operator)


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_registered(operator: Operator, account: str, why: str) -> None:
    """A sentence that says what to write instead, without the key; nothing is kept."""
    alias, *words, key, said = REFUSED[why]
    sentence = operator.refused("byo", "add", account, alias, *words, given=key)
    assert said in sentence
    assert key.strip() not in sentence
    with store_of(operator) as database:
        assert database.rows("SELECT 1 FROM byo_keys WHERE account_id = ?", (account,)) == []


def test_a_name_that_is_taken(any_operator: Operator) -> None:
    """Within the account; what is there stays as it was. Another account may have the same."""
    account = new_account(any_operator)
    add(any_operator, account)
    before = dump(any_operator)
    sentence = any_operator.refused("byo", "add", account, MINE, *GPT, given="another-key-0123")
    assert "taken" in sentence
    assert f"llmdeal byo remove {account} {MINE}" in sentence
    assert dump(any_operator) == before
    add(any_operator, new_account(any_operator), key="another-key-0123")


def test_no_such_account(operator: Operator) -> None:
    """Whoever is asked for."""
    assert "acct_0" in operator.refused("byo", "add", "acct_0", MINE, *GPT, given=KEY)
    assert "acct_0" in operator.refused("byo", "list", "acct_0")
    assert MINE in operator.refused("byo", "test", "acct_0", MINE)


def test_an_account_has_a_bound(any_operator: Operator) -> None:
    """So that a list of models does not grow for ever."""
    account = new_account(any_operator)
    with byo_of(any_operator) as admin:
        for number in range(ALIASES_MAX):
            admin.add(account, f"byo-{number}", "openai", "m", UNKNOWN, KEY, 1)
        with pytest.raises(BadByo, match=str(ALIASES_MAX)):
            admin.add(account, MINE, "openai", "m", UNKNOWN, KEY, 1)


def test_the_config_says_whose_keys(operator: Operator) -> None:
    """An operator may allow fewer providers, and no others."""
    account, config = new_account(operator), shipped_config()
    file = operator.folder / "fewer.yaml"
    for providers, said in ({"groq": None}, "groq"), ({"acme": None}, "acme"), ({}, "allowed: "):
        config["llmdeal"]["byo"] = {"providers": providers}
        file.write_text(yaml.safe_dump(config))
        fewer = replace(operator, more={"LLMDEAL_CONFIG": str(file)})
        assert said in fewer.refused("byo", "add", account, MINE, *GPT, given=KEY)
    checked = operator.run("config", "check", str(file))
    assert checked.code == 0
    config["llmdeal"]["byo"] = {"providers": {"acme": {"api_base": "https://acme.test/v1"}}}
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    checked = operator.run("config", "check", str(file))
    assert checked.code == 1
    assert "fewer.yaml:" in checked.out
    assert "accounts cannot bring keys of 'acme'" in checked.out


def test_names_of_accounts_cannot_be_declared(operator: Operator) -> None:
    """`byo-…` in the config would hide an account's own alias."""
    config = shipped_config()
    config["model_list"][0]["model_name"] = MINE
    file = operator.folder / "named.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    checked = operator.run("config", "check", str(file))
    assert checked.code == 1
    assert f"'{MINE}': names that begin with byo- belong to accounts" in checked.out


def test_a_dump_shows_no_key(any_operator: Operator) -> None:
    """Not as text and not in hexadecimal, before and after a change of the key-encryption key."""
    first = under(any_operator, OLD)
    account = new_account(first)
    add(first, account)
    both = under(any_operator, NEW, OLD)
    before = dump(first)
    with byo_of(both) as admin:
        assert admin.rotate().rotated == 1
    for text in (before, dump(both)):
        assert MINE in text
        for part in (KEY, KEY[4:16], KEY[-8:]):
            assert part.lower() not in text
            assert part.encode().hex() not in text


def test_a_stolen_row_does_not_open(any_operator: Operator) -> None:
    """A copy in another account, or for another provider, is listed as unreadable; a row is never moved."""
    victim, thief = new_account(any_operator), new_account(any_operator)
    add(any_operator, victim)
    kept = COLUMNS.replace("account_id", "?").replace("provider", "?", 1)
    with store_of(any_operator) as database:
        for account, alias, provider in ((thief, MINE, "openai"), (victim, "byo-q", "groq")):
            copied = kept.replace("alias", "?", 1)
            with database.write():
                copy = f"INSERT INTO byo_keys ({COLUMNS}) SELECT {copied} FROM byo_keys"
                where = "WHERE account_id = ? AND alias = ?"
                database.run(f"{copy} {where}", (account, alias, provider, victim, MINE))
        for column, value in (("account_id", thief), ("provider", "groq"), ("alias", "byo-z")):
            with pytest.raises(StatementRefused, match="never moved"), database.write():
                database.run(f"UPDATE byo_keys SET {column} = ? WHERE account_id = ?", (value, victim))
    listed = any_operator.ok("byo", "list")["byo"]
    shown = {(one["account_id"], one["alias"]): one["key"] for one in listed}
    assert shown == {(victim, MINE): "…WXYZ", (thief, MINE): "unreadable", (victim, "byo-q"): "unreadable"}


def test_a_change_of_the_key_encryption_key(any_operator: Operator) -> None:
    """Old key, both keys, new key: all read all the time; whoever has the wrong one is told so."""
    first, both, last = under(any_operator, OLD), under(any_operator, NEW, OLD), under(any_operator, NEW)
    account = new_account(first)
    add(first, account)
    assert "LLMDEAL_ENCRYPTION_KEY" in last.refused("byo", "list")
    # Others may not have the new one yet: until the change is made, what is added is sealed under the old.
    add(both, account, "byo-second", "another-key-0123")
    assert opened(first) == opened(both) == {MINE: KEY, "byo-second": "another-key-0123"}

    done = both.ok("secrets", "rotate")
    assert done == {"key_id": key_id(bytes.fromhex(NEW)), "rotated": 2, "unreadable": []}
    assert opened(both) == opened(last) == {MINE: KEY, "byo-second": "another-key-0123"}
    assert last.ok("secrets", "rotate")["rotated"] == 0
    sentence = first.refused("byo", "list")
    assert "LLMDEAL_ENCRYPTION_KEY_PREVIOUS" in sentence
    assert OLD not in sentence
    add(last, account, "byo-third", "a-third-key-0123")
    assert len(opened(last)) == 3


def test_a_change_of_the_key_seals_partners_keys_anew(any_operator: Operator) -> None:
    """A machine's key is read with either key until the change, and with the new one alone after it."""
    with_key = replace(any_operator, more={**any_operator.more, "GPU1_KEY": KEY})
    both, last = under(with_key, NEW, OLD), under(with_key, NEW)
    machine = ("--url", "https://192.0.3.1/v1", "--model", "m", "--alias", "consortium-llama-70b")
    terms = ("--capacity", "1", "--share", "70", "--api-key-env", "GPU1_KEY")
    under(with_key, OLD).ok("partner", "add", "gpu-1", *machine, *terms)
    assert both.ok("secrets", "rotate")["rotated"] == 1
    assert both.ok("secrets", "rotate")["rotated"] == 0
    with store_of(last) as database:
        keys = (bytes.fromhex(NEW),)
        assert key_of(Partners(database, keys).named("gpu-1"), Cipher(*keys)) == KEY


def test_keys_that_are_added_during_a_change(any_operator: Operator) -> None:
    """Whichever comes first: when all is done, nothing is under the old one."""
    first, both = under(any_operator, OLD), under(any_operator, NEW, OLD)
    accounts = [new_account(first) for _ in range(3)]
    add(first, accounts[0])
    begun = threading.Barrier(len(accounts) + 1)

    def add_many(account: str) -> None:
        with byo_of(both) as admin:
            begun.wait()
            for number in range(20):
                admin.add(account, f"byo-{number}", "openai", "m", UNKNOWN, KEY, 1)

    def rotate() -> int:
        with byo_of(both) as admin:
            begun.wait()
            return len(admin.rotate().unreadable)

    with ThreadPoolExecutor() as together:
        adding = [together.submit(add_many, account) for account in accounts]
        assert together.submit(rotate).result() == 0
        for one in adding:
            one.result()
    with store_of(both) as database:
        found = database.rows("SELECT key_id, count(*) FROM byo_keys GROUP BY key_id")
    assert found == [(key_id(bytes.fromhex(NEW)), 61)]
    assert set(opened(under(any_operator, NEW)).values()) == {KEY}


def test_a_key_under_neither_is_named(any_operator: Operator) -> None:
    """Exit code 1; the others are encrypted anew all the same."""
    first, both = under(any_operator, OLD), under(any_operator, NEW, OLD)
    account = new_account(first)
    for alias in ("byo-a", "byo-b", "byo-c"):
        add(first, account, alias)
    with store_of(first) as database, database.write():
        database.run("UPDATE byo_keys SET key_id = ? WHERE alias = ?", ("0" * 16, "byo-b"))
    ended = both.run("secrets", "rotate", "--json")
    assert ended.code == 1
    assert (ended.json["rotated"], ended.json["unreadable"]) == (
        2,
        [{"account_id": account, "alias": "byo-b"}],
    )


def test_a_previous_key_alone_is_refused(operator: Operator) -> None:
    """It would be read, and a new one made beside it."""
    alone = replace(operator, more={"LLMDEAL_ENCRYPTION_KEY_PREVIOUS": OLD})
    assert "LLMDEAL_ENCRYPTION_KEY_PREVIOUS" in alone.refused("byo", "list")


WORDS_OF_PROBES = {
    "byo-good": (0, '"accepted"', "took the key"),
    "byo-bad": (1, '"refused"', "refused the key"),
}
"""The exit code, the verdict and a part of the sentence."""


@pytest.fixture(scope="module")
def simulator() -> Iterator[str]:
    """The providers."""
    with simulator_process() as address:
        yield address


def test_the_key_is_tried_at_its_provider(simulator: str, tmp_path: Path) -> None:
    """One call each, taken or refused: a sentence and an exit code, and no money moves."""
    config = shipped_config()
    config["llmdeal"]["byo"] = {"providers": byo_stand_ins(simulator)}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    operator = Operator(tmp_path, {"LLMDEAL_CONFIG": str(file)})
    account = new_account(operator)
    add(operator, account, "byo-good")
    add(operator, account, "byo-bad", "own-rejected-key")

    running = {alias: operator.start("byo", "test", account, alias, "--json") for alias in WORDS_OF_PROBES}
    for alias, (code, verdict, said) in WORDS_OF_PROBES.items():
        found, out = _ended(running[alias])
        assert found == code, out
        assert verdict in out
        assert said in out
        assert KEY not in out
    assert operator.ok("usage", account)["usage"] == []


def _ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    out, err = process.communicate(timeout=120)
    assert err == ""
    return process.returncode, out

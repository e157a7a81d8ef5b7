"""`llmdeal migrate`: from whatever is there to what this release needs, on each kind of database."""

from contextlib import closing

import pytest
from postgres_server import PostgresServer

from llmdeal_litellm.ledger.database import STEPS, Database
from llmdeal_litellm.ledger.postgres_connection import SCHEMA
from llmdeal_litellm.ledger.stores import PostgresStore, SqliteStore
from llmdeal_litellm.settings import read_settings

from .operator_command import Operator

NEWEST = len(STEPS)


def opened(operator: Operator) -> Database:
    """The store as it is, not migrated."""
    return read_settings(operator.environment()).store.open()


def set_version(operator: Operator, version: int) -> None:
    """Have the database say that this many steps were applied."""
    with closing(opened(operator)) as database, database.write():
        if database.is_shared:
            database.run("UPDATE schema_version SET steps = ?", (version,))
        else:
            database.run(f"PRAGMA user_version = {version}")


def name_of(operator: Operator) -> str:
    """The database as the command calls it."""
    return str(read_settings(operator.environment()).store)


def test_from_nothing_and_again(unmigrated: Operator) -> None:
    """The first time everything is made, the second time nothing; --check says so before and after."""
    name = name_of(unmigrated)
    check = unmigrated.run("migrate", "--check", "--json")
    behind = {"database": name, "from_version": 0, "to_version": NEWEST, "migrated": False}
    assert (check.code, check.err, check.json) == (1, "", behind)
    assert (
        unmigrated.run("migrate", "--check").out
        == f"{name} is at version 0 of {NEWEST}; run: llmdeal migrate\n"
    )
    assert unmigrated.ok("migrate") == {**behind, "migrated": True}
    now = {**behind, "from_version": NEWEST}
    assert unmigrated.ok("migrate") == unmigrated.ok("migrate", "--check") == now
    for words in (("migrate",), ("migrate", "--check")):
        ended = unmigrated.run(*words)
        assert (ended.code, ended.out) == (0, f"{name} is up to date at version {NEWEST}.\n")
    unmigrated.account(credit="5")
    assert unmigrated.ok("ledger", "verify")["ok"] is True


def test_what_it_says_to_people(unmigrated: Operator) -> None:
    """From which version to which."""
    ended = unmigrated.run("migrate")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"{name_of(unmigrated)} was brought from version 0 to {NEWEST}.\n"


def test_check_changes_nothing(unmigrated: Operator) -> None:
    """No file, and no table in no schema."""
    assert unmigrated.run("migrate", "--check").code == 1
    store = read_settings(unmigrated.environment()).store
    if isinstance(store, SqliteStore):
        assert not store.path.exists()
    else:
        with closing(store.open()) as database:
            assert database.rows("SELECT 1 FROM pg_namespace WHERE nspname = ?", (SCHEMA,)) == []


def test_check_of_an_older_version(any_operator: Operator) -> None:
    """It says which, and leaves it."""
    set_version(any_operator, 1)
    for _ in range(2):
        found = any_operator.run("migrate", "--check", "--json")
        assert (found.code, found.json["from_version"], found.json["to_version"]) == (1, 1, NEWEST)


def test_a_newer_version_is_left_alone(any_operator: Operator) -> None:
    """Exit code 3: this release does not know what the tables mean."""
    set_version(any_operator, 99)
    said = "the database cannot be used: it was written by a newer version of llmdeal; run that version"
    assert any_operator.refused("migrate", code=3) == said
    assert any_operator.refused("migrate", "--check", code=3) == said
    assert any_operator.refused("account", "list", code=3) == said


def test_two_at_once(unmigrated: Operator) -> None:
    """One makes the tables, the other finds them; both are content."""
    started = [unmigrated.start("migrate", "--json") for _ in range(4)]
    ended = [(process.communicate(timeout=120), process.returncode) for process in started]
    assert [(err, code) for (_, err), code in ended] == [("", 0)] * len(started)
    assert unmigrated.run("migrate", "--check").code == 0
    assert unmigrated.ok("ledger", "verify")["ok"] is True


def test_commands_on_a_server_do_not_migrate(postgres_database: str, new_operator: Operator) -> None:
    """Gateways run on it: when its tables change is said with `llmdeal migrate`."""
    server = Operator(
        new_operator.folder,
        {"LLMDEAL_DATABASE_URL": postgres_database, "LLMDEAL_DATA_DIR": str(new_operator.folder)},
    )
    said = "the database cannot be used: its tables are not up to date; run: llmdeal migrate"
    assert server.refused("account", "list", code=3) == said
    assert server.refused("ledger", "verify", code=3) == said
    assert server.run("migrate", "--check").code == 1


def test_a_server_that_is_away(own_postgres: PostgresServer, new_operator: Operator) -> None:
    """Exit code 3, and no password on the screen."""
    url = own_postgres.create_database().replace("llmdeal@", "llmdeal:s3cr3t-word@")
    server = Operator(
        new_operator.folder, {"LLMDEAL_DATABASE_URL": url, "LLMDEAL_DATA_DIR": str(new_operator.folder)}
    )
    assert server.ok("migrate")["database"] == str(PostgresStore(url))
    own_postgres.stop()
    for words in (("migrate",), ("migrate", "--check"), ("account", "list")):
        ended = server.run(*words, "--json")
        assert ended.code == 3
        assert "the database cannot be used: " in ended.json["error"]["message"]
        assert "s3cr3t-word" not in ended.out + ended.err


@pytest.mark.parametrize("words", [("migrate",), ("migrate", "--check")], ids=" ".join)
def test_a_file_that_is_no_database(new_operator: Operator, words: tuple[str, ...]) -> None:
    """It is left as it is."""
    text = "this is not a database" * 100
    new_operator.database.write_text(text)
    assert "file is not a database" in new_operator.refused(*words, code=3)
    assert new_operator.database.read_text() == text

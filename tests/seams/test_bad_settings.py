"""Starts that the gateway refuses before anything is served, without a LiteLLM process."""

import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from llmdeal_litellm.catalog.load import load_catalog
from llmdeal_litellm.gateway import CannotStart, Gateway
from llmdeal_litellm.ledger.stores import PostgresStore, SqliteStore
from llmdeal_litellm.settings import BadSettings, Settings, read_settings

REPOSITORY = Path(__file__).resolve().parents[2]
CATALOG = load_catalog((REPOSITORY / "config.yaml").read_text(), "config.yaml", {}).catalog


def settings_in(folder: Path, **environ: str) -> Settings:
    """Settings of a gateway that was given the config in this folder."""
    (folder / "config.yaml").touch()
    return read_settings(environ, served_config=folder / "config.yaml")


async def refusal(settings: Settings) -> str:
    """Start a gateway that must not start; returns the sentence."""
    gateway = Gateway(settings, CATALOG)
    try:
        with pytest.raises(CannotStart) as refused:
            gateway.start()
    finally:
        await gateway.stop()
    return str(refused.value)


def test_two_different_config_files_are_refused(tmp_path: Path) -> None:
    """LLMDEAL_CONFIG and --config must be the same file."""
    with pytest.raises(BadSettings, match=r"LLMDEAL_CONFIG is .*other\.yaml but --config is .*config\.yaml"):
        settings_in(tmp_path, LLMDEAL_CONFIG=str(tmp_path / "other.yaml"))
    same = settings_in(tmp_path, LLMDEAL_CONFIG=os.path.relpath(tmp_path / "config.yaml"))
    assert same.config_path == tmp_path / "config.yaml"


def test_a_command_in_the_wrong_folder_makes_no_store(tmp_path: Path) -> None:
    """Without a config file and a database address nothing is made where the command happens to run."""
    with pytest.raises(BadSettings, match=r"there is no .*config\.yaml"):
        read_settings({"LLMDEAL_CONFIG": str(tmp_path / "config.yaml")})

    assert list(tmp_path.iterdir()) == []


def database_of(settings: Settings) -> Path:
    """The SQLite file."""
    assert isinstance(settings.store, SqliteStore)
    return settings.store.path


@pytest.mark.parametrize(
    "url",
    ["postgresql://", "mysql://db/x", "postgresql:db/x", "sqlite://", "sqlite:///", "data/llmdeal.db", "://"],
)
def test_other_databases_are_refused_in_a_sentence(tmp_path: Path, url: str) -> None:
    """What is no address of a SQLite file or a PostgreSQL server is refused, and the sentence says what to
    set."""
    with pytest.raises(
        BadSettings,
        match=r"LLMDEAL_DATABASE_URL .* set sqlite:///FILE .*, or postgresql://USER:PASSWORD@HOST",
    ):
        settings_in(tmp_path, LLMDEAL_DATABASE_URL=url)


def test_the_password_of_a_database_address_is_not_repeated(tmp_path: Path) -> None:
    """Sentences and what is shown of settings end in logs, which hold no secret."""
    with pytest.raises(BadSettings) as refused:
        settings_in(tmp_path, LLMDEAL_DATABASE_URL="mysql://ada:secret@db/llmdeal")
    assert "secret" not in str(refused.value)
    settings = settings_in(tmp_path, LLMDEAL_DATABASE_URL="postgresql://ada:secret@db/llmdeal")
    assert isinstance(settings.store, PostgresStore)
    assert "secret" in settings.store.url
    assert "secret" not in f"{settings} {settings!r} {settings.store} {settings.store!r}"


@pytest.mark.parametrize("pepper", ["", "00", "g" * 64, "0" * 63])
def test_a_malformed_pepper_is_refused(tmp_path: Path, pepper: str) -> None:
    """A pepper is 64 hex digits; the sentence does not repeat it."""
    with pytest.raises(BadSettings, match="LLMDEAL_KEY_PEPPER must be 64 hex digits") as refused:
        settings_in(tmp_path, LLMDEAL_KEY_PEPPER=pepper)
    assert not pepper or pepper not in str(refused.value).replace("64", "")


async def test_another_pepper_than_the_stored_keys_have_is_refused(tmp_path: Path) -> None:
    """With a wrong pepper every key would be unknown, so the start says so instead."""
    settings = settings_in(tmp_path)
    gateway = Gateway(settings, CATALOG)
    assert gateway.start() == 0
    assert await gateway.stop() == 0

    assert "LLMDEAL_KEY_PEPPER is not the one" in await refusal(replace(settings, key_pepper=b"x" * 32))
    again = Gateway(settings, CATALOG)
    assert again.start() == 0
    assert await again.stop() == 0


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    """Garbage where the database should be stops the start; nothing is overwritten."""
    settings = settings_in(tmp_path)
    database_of(settings).write_bytes(garbage := b"Dear diary, " * 1000)

    said = await refusal(settings)
    assert said.startswith(f"the database {database_of(settings)} cannot be used")
    assert database_of(settings).read_bytes() == garbage


async def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    """A SQLite file whose tables are another program's stops the start."""
    settings = settings_in(tmp_path)
    with sqlite3.connect(database_of(settings)) as connection:
        connection.execute("CREATE TABLE accounts (whatever TEXT)")
    assert "cannot be used" in await refusal(settings)


async def test_a_second_gateway_on_one_database_is_refused(tmp_path: Path) -> None:
    """Two gateways on one SQLite file would each believe they own its holds."""
    settings = settings_in(tmp_path)
    gateway = Gateway(settings, CATALOG)
    with pytest.raises(CannotStart, match="another gateway is using"):
        Gateway(settings, CATALOG)
    gateway.start()
    assert await gateway.stop() == 0
    free_again = Gateway(settings, CATALOG)
    free_again.start()
    assert await free_again.stop() == 0

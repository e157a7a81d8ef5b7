"""The process's environment, read once and frozen.

LLMDEAL_CONFIG          the config file of the command line; default config.yaml
LLMDEAL_DATABASE_URL    where accounts and money live; default sqlite:///data/llmdeal.db; several workers or
                        machines need postgresql://…
LLMDEAL_REDIS_URL       limits and breakers that several workers or machines share, redis://…
LLMDEAL_DATA_DIR        this machine's files: secrets, settlements that wait for the database; default: the
                        folder of the SQLite file, or data
LLMDEAL_KEY_PEPPER      secret under which keys are stored, 64 hex digits; default: a file beside the database
LLMDEAL_ENCRYPTION_KEY  secret that encrypts customers' upstream keys, 64 hex digits; default: likewise
LLMDEAL_ENCRYPTION_KEY_PREVIOUS  the one before it, while it is being changed
LLMDEAL_DEMO            1: deployments without their provider key are served by the simulator

Relative paths, that of the database too, count from the config file's folder.
"""

import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmdeal_litellm.ledger.stores import PostgresStore, SqliteStore, Store

SECRET_BYTES = 32
PEPPER_FILE = "llmdeal.pepper"
ENCRYPTION_FILE = "llmdeal.encryption-key"
PREVIOUS_KEY = "LLMDEAL_ENCRYPTION_KEY_PREVIOUS"


class BadSettings(Exception):
    """The environment cannot be used; the message says what to set."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says."""

    config_path: Path
    store: Store
    redis_url: str | None
    data_dir: Path
    key_pepper: bytes
    encryption_keys: tuple[bytes, ...]
    """The key-encryption key and, while it is being changed, the one before it."""
    demo: bool

    def __repr__(self) -> str:
        return f"Settings(config={self.config_path}, store={self.store}, demo={self.demo})"


def read_settings(environ: Mapping[str, str], *, served_config: Path | None = None) -> Settings:
    """Settings of this process. `served_config` is the file given to `litellm --config`.

    Makes the database's folder and, when the environment gives none, the two secrets beside it.
    Raises BadSettings.
    """
    config = _config_path(environ, served_config)
    if not environ.get("LLMDEAL_DATABASE_URL") and not config.exists():
        # Otherwise a command run in the wrong folder would quietly start a new, empty store there.
        raise BadSettings(f"there is no {config}; run in its folder, or point LLMDEAL_CONFIG at it")
    store = _store(environ.get("LLMDEAL_DATABASE_URL") or "sqlite:///data/llmdeal.db", config.parent)
    folder = _data_dir(environ.get("LLMDEAL_DATA_DIR"), store, config.parent)
    try:
        for made in {folder, store.path.parent if isinstance(store, SqliteStore) else folder}:
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Settings(
            config_path=config,
            store=store,
            redis_url=_redis_url(environ.get("LLMDEAL_REDIS_URL")),
            data_dir=folder,
            key_pepper=_secret(environ, "LLMDEAL_KEY_PEPPER", folder / PEPPER_FILE),
            encryption_keys=_encryption_keys(environ, folder),
            demo=environ.get("LLMDEAL_DEMO", "") == "1",
        )
    except OSError as error:
        raise BadSettings(f"cannot use the folder {folder}: {error.strerror}") from None


def _config_path(environ: Mapping[str, str], served: Path | None) -> Path:
    named = environ.get("LLMDEAL_CONFIG")
    if served is None:
        return Path(named or "config.yaml").absolute()
    if named and Path(named).resolve() != served.resolve():
        raise BadSettings(
            f"LLMDEAL_CONFIG is {named} but --config is {served}; unset one or make them the same file"
        )
    return served.absolute()


def _store(url: str, folder: Path) -> Store:
    scheme, found, rest = url.partition("://")
    if found and scheme in ("postgresql", "postgres") and rest:
        return PostgresStore(url)
    if not found or scheme != "sqlite" or not rest.startswith("/") or rest == "/":
        raise BadSettings(
            f"LLMDEAL_DATABASE_URL has scheme '{scheme}'; set sqlite:///FILE (or sqlite:////ABSOLUTE/FILE), "
            "or postgresql://USER:PASSWORD@HOST/DATABASE"
        )
    return SqliteStore(folder / rest[1:])


def _data_dir(said: str | None, store: Store, folder: Path) -> Path:
    if said:
        return folder / said
    return store.path.parent if isinstance(store, SqliteStore) else folder / "data"


def _redis_url(url: str | None) -> str | None:
    if url and not url.startswith(("redis://", "rediss://", "unix://")):
        raise BadSettings("LLMDEAL_REDIS_URL must be redis://HOST:PORT/NUMBER (or rediss://, unix://)")
    return url or None


def _encryption_keys(environ: Mapping[str, str], folder: Path) -> tuple[bytes, ...]:
    previous = PREVIOUS_KEY in environ and environ[PREVIOUS_KEY] != ""
    if previous and "LLMDEAL_ENCRYPTION_KEY" not in environ:
        raise BadSettings(f"{PREVIOUS_KEY} is set without LLMDEAL_ENCRYPTION_KEY; set the new one, too")
    file = folder / ENCRYPTION_FILE
    names = ("LLMDEAL_ENCRYPTION_KEY", PREVIOUS_KEY) if previous else ("LLMDEAL_ENCRYPTION_KEY",)
    return tuple(dict.fromkeys(_secret(environ, name, file) for name in names))


def _secret(environ: Mapping[str, str], name: str, file: Path) -> bytes:
    text = environ.get(name)
    if text is None:
        text = _secret_file(file)
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        where = name if name in environ else str(file)
        raise BadSettings(
            f"{where} must be {SECRET_BYTES * 2} hex digits; make one with: openssl rand -hex 32"
        )
    return bytes.fromhex(text)


def _secret_file(file: Path) -> str:
    """The secret in `file`, made on first use. Linking a finished file into place makes two processes that
    start together agree on one."""
    if not file.exists():
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=file.name)
        try:
            with os.fdopen(handle, "w") as out:
                out.write(secrets.token_hex(SECRET_BYTES))
                out.flush()
                os.fsync(out.fileno())
            os.link(temporary, file)
        except FileExistsError:
            pass
        finally:
            os.unlink(temporary)
    return file.read_text(errors="replace").strip()

"""Opening and migrating the embedded store."""

from contextlib import closing
from pathlib import Path

import pytest

from llmdeal_litellm.ledger.database import MIGRATIONS, SchemaTooNew, connect, migrate


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    """A start on an up-to-date store applies no step."""
    with closing(connect(tmp_path / "a.db")) as connection:
        assert migrate(connection) == len(MIGRATIONS)
        assert migrate(connection) == 0


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """A store that a later version wrote is left alone."""
    with closing(connect(tmp_path / "a.db")) as connection:
        migrate(connection)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")

        with pytest.raises(SchemaTooNew):
            migrate(connection)

"""One folder with a database for a module, or an empty one for a test."""

from pathlib import Path

import pytest

from .operator_command import Operator


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """One database for all tests of a module."""
    return Operator(tmp_path_factory.mktemp("gateway"), {})


@pytest.fixture
def new_operator(tmp_path: Path) -> Operator:
    """An empty folder."""
    return Operator(tmp_path, {})

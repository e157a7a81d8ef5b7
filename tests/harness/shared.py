"""Material beside the repository that some tests read when it is there."""

from pathlib import Path

import pytest
from processes import REPOSITORY


def beside_repository(path: str) -> Path:
    """A file or folder of `../shared`; skips the test when it is not there."""
    found = REPOSITORY.parent / "shared" / path
    if not found.exists():
        pytest.skip(f"../shared/{path} is not beside the repository")
    return found

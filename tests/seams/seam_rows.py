"""The table of docs/litellm-seams.md, read: which symbols of LiteLLM we use and which tests watch each."""

import re
from dataclasses import dataclass

from processes import REPOSITORY

PAGE = REPOSITORY / "docs" / "litellm-seams.md"
TEST = re.compile(r"`(tests/[\w/.]+(?:::\w+)?)`")


@dataclass(frozen=True)
class SeamRow:
    """One row: the symbols as the page spells them, and the tests it names as pytest takes them."""

    symbol: str
    tests: tuple[str, ...]


def rows() -> list[SeamRow]:
    """All rows of the table."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    cells = [line.strip("| ").split(" | ") for line in lines]
    return [SeamRow(row[0], tuple(TEST.findall(row[-1]))) for row in cells]

"""The shipped config with one edit, and where in it a text stands."""

from pathlib import Path

from llmdeal_litellm.catalog.load import load_catalog
from llmdeal_litellm.catalog.positions import ConfigError, ConfigProblem

SHIPPED = (Path(__file__).resolve().parents[2] / "config.yaml").read_text()
FILE = "config.yaml"


def edited(old: str, new: str) -> str:
    """The shipped file with the first `old` replaced."""
    assert old in SHIPPED, old
    return SHIPPED.replace(old, new, 1)


def line_of(text: str, marker: str) -> int:
    """The line, from 1, on which the marker first stands. A marker `a … b` is the first b after an a."""
    position = 0
    for part in marker.split(" … "):
        position = text.index(part, position)
    return text.count("\n", 0, position) + 1


def problems(text: str) -> list[ConfigProblem]:
    """Every problem of a file, none when it can be used."""
    try:
        load_catalog(text, FILE, {})
    except ConfigError as bad:
        return bad.problems
    return []


def warnings(text: str) -> list[ConfigProblem]:
    """Every warning about a file that can be used."""
    return list(load_catalog(text, FILE, {}).warnings)

"""The gateway's log lines, which are made in fewer steps than the standard library takes."""

import io
import logging
import sys
from collections.abc import Callable

import pytest

from llmdeal_litellm.seams.install import LINE, _Lines


def record(message: str, *args: object, **more: object) -> logging.LogRecord:
    """One as a logger makes it."""
    made = logging.getLogger("llmdeal.ledger").makeRecord(
        "llmdeal.ledger", logging.WARNING, "writer.py", 7, message, args, None
    )
    made.__dict__.update(more)
    return made


def failed() -> object:
    """What a logger has of an exception under way."""
    try:
        raise ValueError("of the test")
    except ValueError:
        return sys.exc_info()


@pytest.mark.parametrize(
    "made",
    [
        lambda: record('{"path":"/v1/models/%s"}'),
        lambda: record("hold %s had ended as %d%%", "r1", 7),
        lambda: record("wrote", created=1_750_000_000.9996, msecs=999.6),
        lambda: record("failed", exc_info=failed()),
        lambda: record("failed", exc_text="Traceback"),
        lambda: record("failed", stack_info="Stack"),
    ],
    ids=["percent", "arguments", "another-second", "exception", "exception-text", "stack"],
)
def test_a_line_is_as_the_standard_librarys(made: Callable[[], logging.LogRecord]) -> None:
    """Time, level, name, message, and an exception behind it."""
    one = made()
    found = _Lines(LINE).format(one)
    assert found == logging.Formatter(LINE).format(one)
    assert found.startswith(f"{_Lines(LINE).formatTime(one)} WARNING llmdeal.ledger {one.getMessage()}")


def test_each_line_is_written_at_once() -> None:
    """Nothing of it waits in the process."""
    raw = io.BytesIO()
    handler = logging.StreamHandler(io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8"))
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.handle(record("first"))
    assert raw.getvalue() == b"first\n"
    handler.addFilter(lambda each: each.msg != "second")
    handler.handle(record("second"))
    handler.handle(record("third"))
    assert raw.getvalue() == b"first\nthird\n"


def test_a_line_that_cannot_be_written_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it was to tell of goes on."""
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logging.StreamHandler(closed).handle(record("lost"))

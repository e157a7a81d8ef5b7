"""Whatever an upstream does: the caller gets an answer of ours and pays by the rules, a lane finds a way."""

import pytest
from fault_rows import ROWS, Row
from fault_rules import RULES
from fault_run import Outcome

from llmdeal_litellm.simulator.faults.table import FAULTS


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_fault(row: Row, outcome: Outcome) -> None:
    """A row of the table."""
    found = outcome.rows[row]
    assert not found, "; ".join(found)


def test_no_redirect_is_followed(outcome: Outcome) -> None:
    """Of all rows."""
    assert outcome.redirects_followed == 0


def test_the_books_are_right(outcome: Outcome) -> None:
    """Every hold has ended, and each invariant holds after all rows."""
    assert outcome.broken_invariants == []


def test_every_fault_has_a_rule() -> None:
    """The table knows all that the simulator can do."""
    assert set(RULES) == set(FAULTS)

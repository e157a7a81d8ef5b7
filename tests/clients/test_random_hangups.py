"""Many clients that leave at random points: nothing is left of them, and nobody else is disturbed."""

from hangup_plan import ALLOWED, plans
from hangup_run import HangupRun
from place import Place

COUNT, SEED = 150, 20


def test_many_hangups_at_once(place: Place) -> None:
    """Each pays by the rules of its point, all tasks, sockets and holds are gone, all others are answered."""
    outcome = HangupRun(place).of(list(plans(COUNT, SEED)))

    assert outcome.wrong == []
    assert set(outcome.points) == set(ALLOWED)
    assert outcome.others_answered > 0

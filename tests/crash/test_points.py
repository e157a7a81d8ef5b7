"""A worker is killed at each named point in the life of a request."""

import pytest
from kill_points import NAMES, Points


@pytest.mark.parametrize("name", NAMES)
def test_a_worker_is_killed_at(points: Points, name: str) -> None:
    """The request's hold ends once, by the rule of its point, and the books are right."""
    points.reach(name)

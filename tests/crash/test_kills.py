"""Workers are killed at random points under a mixed load: the short form of `make crash`, 20 kills."""

from fleet_world import FleetWorld
from kill_plan import LEASE_S
from kill_run import KillRun

KILLS, SEED = 20, 7


def test_kills_at_random_points(fleet: FleetWorld) -> None:
    """Nothing that was delivered for two seconds is free, nothing is charged twice, nothing stays held."""
    outcome = KillRun(fleet, lease_s=LEASE_S, seed=SEED, starting_part=0.0).of(KILLS)

    assert outcome.judged.wrong == []
    assert outcome.kills >= KILLS
    assert outcome.judged.answered > 0

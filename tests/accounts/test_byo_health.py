"""Breakers of accounts' own upstreams: each for itself, and never more than so many."""

import pytest

from llmdeal_litellm.catalog.model import Breaking
from llmdeal_litellm.health import ByoHealth, NotNow
from llmdeal_litellm.metrics import Metrics
from llmdeal_litellm.upstream.failures import BadStatus, KeyRefused, Throttled, UpstreamFailure

RULES = Breaking(failures=3, calls=5, window_s=30, open_s=60)
MINE, OTHER = "acct_a/byo-x", "acct_b/byo-x"


def health(most: int = 100, metrics: Metrics | None = None) -> ByoHealth:
    """Breakers whose clock stands still."""
    return ByoHealth(RULES, monotonic_s=lambda: 0.0, most=most, metrics=metrics)


async def fail(found: ByoHealth, deployment: str, failure: UpstreamFailure, times: int) -> None:
    """So many calls that end so."""
    for _ in range(times):
        with pytest.raises(type(failure)):
            async with found.call(deployment):
                raise failure


async def test_failures_of_one_are_no_others_business() -> None:
    """Its breaker opens after so many; the same alias of another account is called on."""
    found = health()
    await fail(found, MINE, BadStatus(500), RULES.failures)
    assert found.is_open(MINE)
    with pytest.raises(NotNow):
        async with found.call(MINE):
            pass
    async with found.call(OTHER):
        pass


async def test_a_refused_key_opens_nothing() -> None:
    """It says nothing of the provider."""
    metrics = Metrics()
    found = health(metrics=metrics)
    await fail(found, MINE, KeyRefused(401, "byo-x"), 20)
    assert found.wait_s(MINE) == 0
    sample = {"deployment": "byo", "outcome": "key_refused"}
    assert metrics.registry.get_sample_value("llmdeal_upstream_attempts_total", sample) == 20


async def test_a_pause_that_was_asked_for_is_made() -> None:
    """By that account's upstream alone."""
    found = health()
    await fail(found, MINE, Throttled(7), 1)
    assert (found.wait_s(MINE), found.is_open(MINE), found.wait_s(OTHER)) == (7, False, 0)


async def test_there_are_never_more_than_so_many() -> None:
    """The one called longest ago is forgotten, also while a call of it is under way."""
    found = health(most=2)
    await fail(found, MINE, BadStatus(500), RULES.failures)
    for name in ("b", MINE, "c"):
        found.wait_s(name)
    assert found.is_open(MINE)
    async with found.call("long"):
        for name in "defg":
            async with found.call(name):
                pass
    assert found.wait_s(MINE) == 0
    assert len(found.states()) == 2

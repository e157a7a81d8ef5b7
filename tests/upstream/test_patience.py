"""Waits with a bound each, on one timer."""

import asyncio

import pytest

from llmdeal_litellm.upstream.patience import Patience

SOON_S, LATE_S = 0.01, 600.0


def never() -> "asyncio.Future[None]":
    """What does not happen."""
    return asyncio.get_running_loop().create_future()


async def test_a_wait_that_takes_too_long() -> None:
    """It ends with TimeoutError, and the task goes on as if it had not been cancelled."""
    patience = Patience()
    with pytest.raises(TimeoutError), patience.within(SOON_S):
        await never()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_each_wait_has_a_bound_of_its_own() -> None:
    """A short one after a long one, and a long one after a short one that was in time."""
    patience = Patience()
    for seconds in (LATE_S, SOON_S, LATE_S):
        with patience.within(seconds):
            await asyncio.sleep(0)
    with pytest.raises(TimeoutError), patience.within(SOON_S):
        await never()
    with pytest.raises(TimeoutError), patience.within(SOON_S):
        await never()


async def test_nobody_is_bounded_between_two_waits() -> None:
    """The timer of a wait that is over fires, and finds nothing to end."""
    patience = Patience()
    with patience.within(SOON_S):
        pass
    fired = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(3 * SOON_S, fired.set_result, None)
    await fired
    with patience.within(LATE_S):
        await asyncio.sleep(0)
    patience.end()


async def test_a_cancellation_from_elsewhere_goes_on() -> None:
    """It is not taken for a wait that took too long."""
    waits = asyncio.Event()

    async def wait() -> None:
        with Patience().within(LATE_S):
            waits.set()
            await never()

    task = asyncio.create_task(wait())
    await waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_both_at_the_same_time() -> None:
    """A cancellation from elsewhere wins over a bound that is reached in the same moment."""
    waits = asyncio.Event()
    made: list[Patience] = []

    async def wait() -> None:
        made.append(Patience())
        with made[0].within(LATE_S):
            waits.set()
            await never()

    task = asyncio.create_task(wait())
    await waits.wait()
    made[0]._due_s = 0.0
    made[0]._fire()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_end_leaves_no_timer() -> None:
    """Nothing keeps the task alive for the rest of a bound."""
    patience = Patience()
    with patience.within(LATE_S):
        await asyncio.sleep(0)
    assert patience._timer is not None
    patience.end()
    assert patience._timer is None

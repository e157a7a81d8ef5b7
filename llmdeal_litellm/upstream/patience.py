"""Many waits of one task, each with a bound of its own: what `asyncio.timeout` does, for less.

A stream waits for each of its pieces. A timer for each of them costs as much as reading it; here one timer
is set now and then, and looks when it fires whether the wait of that moment has taken too long.
"""

import asyncio
from types import TracebackType

NEVER_S = float("inf")


class Patience:
    """`with patience.within(seconds): await …` raises TimeoutError when that takes longer.

    For the task that makes it, one wait at a time. `end` is to be called when no wait follows.
    """

    __slots__ = ("_cancelling", "_due_s", "_expired", "_fires_s", "_loop", "_task", "_timer")

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "whoever waits is a task"
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._fires_s = NEVER_S
        self._due_s = NEVER_S
        self._expired = False
        self._cancelling = 0

    def within(self, seconds: float) -> "Patience":
        """The bound of the next wait."""
        self._due_s = self._loop.time() + seconds
        if self._due_s < self._fires_s:
            self._set(self._due_s)
        return self

    def __enter__(self) -> None:
        self._cancelling = self._task.cancelling()

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, at: TracebackType | None
    ) -> None:
        self._due_s = NEVER_S
        if not self._expired:
            return
        self._expired = False
        # A cancellation that came from elsewhere at the same time goes on.
        if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from failure

    def _set(self, fires_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires_s = fires_s
        self._timer = self._loop.call_at(fires_s, self._fire)

    def _fire(self) -> None:
        self._timer, self._fires_s = None, NEVER_S
        if self._due_s == NEVER_S:
            return
        if self._loop.time() < self._due_s:
            self._set(self._due_s)
            return
        self._expired = True
        self._task.cancel()

    def end(self) -> None:
        """Nothing is waited for any more."""
        self._due_s = NEVER_S
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

"""Tasks that run as long as the process does."""

import asyncio
import logging

log = logging.getLogger("llmdeal.gateway")


def lament(task: "asyncio.Task[None]") -> None:
    """For `add_done_callback`: what ends by a defect would do so in silence, its work undone."""
    if not task.cancelled() and (defect := task.exception()) is not None:
        log.critical("%s has died, restart this process: %s", task.get_coro(), defect, exc_info=defect)

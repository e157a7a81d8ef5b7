"""Every exchange through both sides, once, on one event loop that nothing outlives."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from exchange_files import Exchange
from loopback import Loopback, loopback, only_loopback
from outcomes import Difference, Outcome, differences, one_spelling
from through_codec import Ours
from through_litellm import Theirs, quiet

LAST_TASKS_S = 5.0


@dataclass(frozen=True)
class Comparison:
    """What an exchange gave on each side, and where that differs."""

    exchange: Exchange
    ours: Outcome
    theirs: Outcome
    found: list[Difference]


@dataclass
class Compared:
    """All comparisons by their exchange's label. `strayed` are other addresses than the server's that were
    wanted, `left` the tasks that were not done at the end."""

    by_label: dict[str, Comparison] = field(default_factory=dict)
    strayed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def compare(exchanges: list[Exchange]) -> Compared:
    """Both sides of these exchanges."""
    found = Compared()
    with only_loopback() as found.strayed, quiet():
        asyncio.run(_compare(exchanges, found))
    return found


async def _compare(exchanges: list[Exchange], found: Compared) -> None:
    async with loopback() as upstream:
        ours, theirs = Ours(), Theirs()
        for exchange in exchanges:
            mine = await _outcome(ours.outcome, exchange, upstream)
            other = await _outcome(theirs.outcome, exchange, upstream)
            found.by_label[exchange.label] = Comparison(exchange, mine, other, differences(mine, other))
        await ours.close()
        await theirs.close()
    # Clients that LiteLLM drops close themselves in tasks of their own.
    gc.collect()
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    if rest:
        rest = (await asyncio.wait(rest, timeout=LAST_TASKS_S))[1]
    found.left = [repr(task) for task in rest]


async def _outcome(
    side: Callable[[Exchange, str], Awaitable[Outcome]], exchange: Exchange, upstream: Loopback
) -> Outcome:
    found = await side(exchange, upstream.choose(exchange))
    assert len(upstream.requests) <= 1, "nothing is tried twice"
    for path, body in upstream.requests:
        found.path = path
        found.request = one_spelling(body) if exchange.wire == "gemini" else body
    return found

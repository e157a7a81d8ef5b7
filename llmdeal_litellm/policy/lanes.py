"""In which order the members of an alias are offered a request. Pure: health and load are arguments, not
lookups."""

from collections.abc import Callable, Sequence
from fractions import Fraction

from llmdeal_litellm.catalog.model import Alias, Deployment, Member


def cheapest_first(alias: Alias, *, own_input: int, expected_output: int) -> tuple[Member, ...]:
    """Members by what this request would cost us; ties in file order."""
    return tuple(sorted(alias.members, key=lambda m: _cost(m.deployment, own_input, expected_output)))


def least_loaded_first(alias: Alias, load: Callable[[str], Fraction]) -> tuple[Member, ...]:
    """Members by how much of their capacity is in use (`load` of a deployment's id, 0 to 1); ties in the
    order in which they were registered."""
    return tuple(sorted(alias.members, key=lambda m: load(m.deployment.id)))


def _cost(deployment: Deployment, own_input: int, expected_output: int) -> int:
    """Pico-USD. A pinned alias may come without costs; it has one member, so its place does not matter."""
    return own_input * (deployment.input_cost or 0) + expected_output * (deployment.output_cost or 0)


def most_overhead(members: Sequence[Member]) -> int:
    """Tokens that the chattiest of these upstreams adds to a prompt of its own."""
    return max((m.deployment.prompt_overhead for m in members), default=0)

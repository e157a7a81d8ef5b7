"""In which order the members of an alias are offered a request. Pure: health and load are arguments, not
lookups."""

from collections.abc import Callable
from fractions import Fraction

from llmdeal_litellm.catalog.model import Alias, Member


def cheapest_first(alias: Alias, *, own_input: int, expected_output: int) -> tuple[Member, ...]:
    """Members by what this request would cost us; ties in file order."""

    def cost(member: Member) -> int:
        """Pico-USD. Only pinned aliases may come without costs: their one member has its place anyway."""
        paid = member.deployment
        return own_input * (paid.input_cost or 0) + expected_output * (paid.output_cost or 0)

    return tuple(sorted(alias.members, key=cost))


def least_loaded_first(alias: Alias, load: Callable[[str], Fraction]) -> tuple[Member, ...]:
    """Members by how much of their capacity is in use (`load` of a deployment's id, 0 to 1); ties in the
    order in which they were registered."""
    return tuple(sorted(alias.members, key=lambda m: load(m.deployment.id)))

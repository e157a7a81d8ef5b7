"""The retry budget against its rule, counted anew: a share of ten seconds' requests and some more each."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmdeal_litellm.catalog.model import Retrying
from llmdeal_litellm.policy.retry_budget import WINDOW_S, RetryBudget

RULES = Retrying()
steps = st.lists(
    st.tuples(st.sampled_from([0, 0, 0, 1, 2, 9, 10, 11]), st.integers(0, 60), st.integers(0, 60)),
    min_size=1,
    max_size=25,
)
rules_of_any = st.builds(
    Retrying, budget_percent=st.integers(0, 100), budget_per_s=st.integers(0, 12), attempts=st.just(3)
)


def asked(budget: RetryBudget, rules: Retrying, now_s: int, times: int) -> int:
    """Ask so many times for one more attempt; returns how many were given."""
    return sum([budget.take(rules, now_s) for _ in range(times)])


@settings(max_examples=150, deadline=None)
@given(st.just(RULES) | rules_of_any, steps)
@example(Retrying(budget_percent=0, budget_per_s=0), [(0, 60, 1)])
def test_exactly_what_the_rule_allows_is_given(rules: Retrying, taken: list[tuple[int, int, int]]) -> None:
    """Of what is asked for, as much as keeps the last ten whole seconds within the rule, and all of that."""
    budget, now_s = RetryBudget(), 100
    requests: list[int] = []
    retries: list[int] = []
    for gap_s, more_requests, wanted in taken:
        now_s += gap_s
        for _ in range(more_requests):
            budget.note_request(now_s)
        requests += [now_s] * more_requests
        given_out = asked(budget, rules, now_s, wanted)
        came = sum(at > now_s - WINDOW_S for at in requests)
        gone = sum(at > now_s - WINDOW_S for at in retries)
        allowed = rules.budget_percent * came // 100 + rules.budget_per_s * WINDOW_S
        assert given_out == min(wanted, max(0, allowed - gone))
        retries += [now_s] * given_out


def test_a_quiet_gateway_has_some() -> None:
    """Ten a second, to be had at once, although there were no requests."""
    assert asked(RetryBudget(), RULES, 0, 1000) == 100


def test_requests_earn_their_share() -> None:
    """A thousand requests: two hundred more."""
    budget = RetryBudget()
    for _ in range(1000):
        budget.note_request(5)

    assert asked(budget, RULES, 5, 1000) == 300


def test_it_recovers_after_ten_seconds() -> None:
    """Spent at 0, nothing at 9, all of it again at 10."""
    budget = RetryBudget()
    asked(budget, RULES, 0, 1000)

    assert asked(budget, RULES, 9, 1) == 0
    assert asked(budget, RULES, 10, 1000) == 100


def test_what_is_refused_costs_nothing() -> None:
    """A thousand refusals do not delay the recovery."""
    budget = RetryBudget()
    asked(budget, RULES, 0, 100)

    assert asked(budget, RULES, 9, 1000) == 0
    assert asked(budget, RULES, 10, 1000) == 100


def test_it_keeps_no_more_than_ten_seconds() -> None:
    """However long it runs."""
    budget = RetryBudget()
    for now_s in range(1000):
        budget.note_request(now_s)
        assert len(budget.seconds) <= WINDOW_S


def test_a_clock_that_goes_back_forgets_nothing() -> None:
    """A second that is counted twice is counted in the newest."""
    budget = RetryBudget()
    asked(budget, RULES, 50, 100)
    budget.note_request(40)

    assert asked(budget, RULES, 45, 1) == 0

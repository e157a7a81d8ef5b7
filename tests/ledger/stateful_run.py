"""One run of the machine over a store: so many examples of so many steps, which a seed repeats."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import HealthCheck, seed, settings
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS
from hypothesis.stateful import run_state_machine_as_test
from stateful_bench import Bench
from stateful_machine import machine_at

AFRESH = "afresh"
"""Hypothesis's own way to choose, under another name: under its own, five of six examples are copies of the
one before with a few steps exchanged, which says little about a ledger."""
AVAILABLE_PROVIDERS[AFRESH] = AVAILABLE_PROVIDERS["hypothesis"]


def run(bench: Bench, *, examples: int, steps: int, number: int) -> None:
    """Raises what is wrong, with the shortest program that shows it and how to run it again in its notes."""
    wanted = settings(
        backend=AFRESH,
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        print_blob=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    try:
        with _quiet():
            run_state_machine_as_test(seed(number)(machine_at(bench)), settings=wanted)
    except BaseException as wrong:
        store = bench.tally.store
        again = f"make properties STORE={store} EXAMPLES={examples} STEPS={steps} SEED={number}"
        wrong.add_note(f"again with: {again}")
        raise


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the ledger's warnings of each worker that died."""
    log = logging.getLogger("llmdeal.ledger")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)

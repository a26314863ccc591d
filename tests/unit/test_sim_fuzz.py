"""Thousands of short random scenarios. A failing one is run again by its number."""

import os

from esprit import sim

#: `make test` runs thousands; `make soak` goes on from there.
SEEDS = int(os.environ.get("ESPRIT_SEEDS", "200"))


def test_no_random_scenario_breaks_a_rule() -> None:
    processes = len(os.sched_getaffinity(0))
    assert sim.fuzz(range(SEEDS), processes=processes) == ()

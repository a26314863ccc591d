"""Placements to compare with: what schedulers do that know less of engines than the pool does.

Each is made anew for a run, for it remembers whose turn it is.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from esprit.sim.placement import Candidate, Job, Placement


def round_robin(seed: int) -> Placement:
    """Each engine in turn, whatever it is like."""
    turn = seed

    def pick(job: Job, candidates: Sequence[Candidate]) -> int:
        nonlocal turn
        turn += 1
        return candidates[turn % len(candidates)].engine

    return pick


def weighted_round_robin(seed: int) -> Placement:
    """Each engine in turn, as often as it is fast: whoever is furthest behind its due."""
    given: dict[int, float] = {}

    def pick(job: Job, candidates: Sequence[Candidate]) -> int:
        # One that joins late starts where the others are.
        least = min((given[c.engine] for c in candidates if c.engine in given), default=0.0)
        best = min(
            candidates,
            key=lambda c: (given.setdefault(c.engine, least) + c.service_ns, c.engine),
        )
        given[best.engine] += best.service_ns
        return best.engine

    return pick


def least_queue(seed: int) -> Placement:
    """The engine with the shortest queue; it does not see that a slow one takes longer."""

    def pick(job: Job, candidates: Sequence[Candidate]) -> int:
        return min(candidates, key=lambda c: (c.backlog_ns, c.engine)).engine

    return pick


def power_of_two_choices(seed: int) -> Placement:
    """The shorter queue of two engines drawn by lot (Mitzenmacher, 2001)."""
    lot = random.Random(seed)  # noqa: S311 - a seeded experiment

    def pick(job: Job, candidates: Sequence[Candidate]) -> int:
        two = candidates if len(candidates) < 2 else lot.sample(candidates, 2)
        return min(two, key=lambda c: (c.backlog_ns, c.engine)).engine

    return pick


#: By name; each takes the seed.
RIVALS: Final[Mapping[str, Callable[[int], Placement]]] = MappingProxyType(
    {
        "round-robin": round_robin,
        "weighted-round-robin": weighted_round_robin,
        "least-queue": least_queue,
        "power-of-two-choices": power_of_two_choices,
    }
)

"""Shares of the flow hash: which member sends which flows in a mode where all carry.

A flow that changes its member changes its SA and may be reordered on the way, so shares move
only when they must, and then where the worker has moved them already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from esprit.model.plan import BUCKETS

#: Shares that a member may have above or below its due before flows are moved for balance's
#: sake: 4 of 256 is 1.6 % of the traffic.
SLACK: Final = 4


def quotas(weights: Mapping[int, int]) -> dict[int, int]:
    """Shares due to each member, by largest remainder; members earlier in the mapping first."""
    total = sum(weights.values())
    if total <= 0:
        return {}
    due = {member: BUCKETS * weight // total for member, weight in weights.items()}
    rest = sorted(weights, key=lambda member: -(BUCKETS * weights[member] % total))
    for member in rest[: BUCKETS - sum(due.values())]:
        due[member] += 1
    return due


def spread(
    before: Sequence[int], weights: Mapping[int, int], heirs: Sequence[int] = ()
) -> tuple[int, ...]:
    """Members by share of the flow hash.

    Args:
        before: The shares as they were: :data:`BUCKETS` of them, or anything else for a new start.
        weights: Members that carry, with their weights, all positive.
        heirs: The takeover order that was in force, by which the worker dealt out the shares of
            a member that it lost.

    Returns:
        :data:`BUCKETS` members, or none if nobody carries. The shares of a member that carries
        still stay with it, unless a member joined or the weights changed by more than
        :data:`SLACK` shares.
    """
    if not weights:
        return ()
    due = quotas(weights)
    if len(before) != BUCKETS:
        return tuple(_deal(dict.fromkeys(weights, 0), due, BUCKETS))
    table: list[int | None] = [member if member in weights else None for member in before]
    orphans = [share for share, member in enumerate(table) if member is None]
    owned = dict.fromkeys(weights, 0)
    for member in table:
        if member is not None:
            owned[member] += 1
    joined = any(owned[member] == 0 and due[member] > 0 for member in weights)
    if orphans:
        for share, member in zip(orphans, _inherit(owned, due, orphans, heirs), strict=True):
            table[share] = member
            owned[member] += 1
    if joined or not orphans:
        _rebalance(table, owned, due)
    return tuple(member for member in table if member is not None)


def _inherit(
    owned: Mapping[int, int], due: Mapping[int, int], orphans: Sequence[int], heirs: Sequence[int]
) -> list[int]:
    """Who gets the orphaned shares: as the worker dealt them, if that is fair enough."""
    ranking = [member for member in heirs if member in due]
    if ranking:
        dealt = [ranking[turn % len(ranking)] for turn in range(len(orphans))]
        if all(owned[m] + dealt.count(m) <= max(due[m] + SLACK, owned[m]) for m in due):
            return dealt
    return _deal(dict(owned), due, len(orphans))


def _deal(owned: dict[int, int], due: Mapping[int, int], count: int) -> list[int]:
    """``count`` shares, each to the member that lacks most; so the first start interleaves."""
    dealt = []
    for _ in range(count):
        poorest = max(due, key=lambda member: due[member] - owned[member])
        owned[poorest] += 1
        dealt.append(poorest)
    return dealt


def _rebalance(table: list[int | None], owned: dict[int, int], due: Mapping[int, int]) -> None:
    """Moves as few shares as it takes to give each member its due, if any is far from it."""
    if all(abs(owned[member] - due[member]) <= SLACK for member in due):
        return
    for share, member in enumerate(table):
        if member is None or owned[member] <= due[member]:
            continue
        poorest = max(due, key=lambda m: due[m] - owned[m])
        table[share] = poorest
        owned[member] -= 1
        owned[poorest] += 1

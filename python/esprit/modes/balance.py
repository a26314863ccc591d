"""Shares of the flow hash follow the measured load, as few of them and as seldom as will do.

A flow that moves changes its SA and may be reordered on the way, so nothing is moved for a
burst, for a difference that nobody feels, or back and forth: only from a member that has clearly
more to do than its due to one that has clearly less, and only shares that matter and that fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from esprit.model.plan import BUCKETS
from esprit.model.state import Load

#: Shares are moved at most this often: bonding's own interval (BOND_TLB_REBALANCE_INTERVAL).
#: TCP has settled by then, and the load was measured ten times since the last move.
EVERY_NS: Final = 10_000_000_000

#: A member is overloaded that has more than five quarters of what is its due.
OVER: Final = 5, 4

#: So many shares at most are moved at a time, an eighth of all. Each takes at least this part of
#: the surplus, or half of what its member's shares have on average: smaller ones would not
#: change what is felt.
MOVES: Final = BUCKETS // 8

#: Bytes of a second below which nothing is moved: 1 Mbit/s burdens no link that there is.
IDLE: Final = 125_000


def capacities(weights: Mapping[int, int], speeds: Mapping[int, int | None]) -> dict[int, int]:
    """What members are worth: their weights, times their links' speeds where all are known."""
    known = {member: speed for member in weights if (speed := speeds.get(member))}
    if len(known) < len(weights):
        return dict(weights)
    return {member: weight * known[member] for member, weight in weights.items()}


def smoothed(before: Sequence[int], now: Sequence[int]) -> tuple[int, ...]:
    """The load by share, the last second counting half."""
    if len(now) != BUCKETS:
        return ()
    if len(before) != BUCKETS:
        return tuple(now)
    return tuple((old + new) // 2 for old, new in zip(before, now, strict=True))


def rebalance(
    table: Sequence[int], worth: Mapping[int, int], load: Load, now: int
) -> tuple[int, ...]:
    """The table after what the load demands, which mostly is nothing.

    Args:
        table: Members by share, each of them in ``worth``.
        worth: Members that carry, with their capacities, in any unit.
        load: What was measured.
        now: The time.
    """
    moved = list(table)
    if not load.fresh or len(load.shares) != len(table) or now < load.moved + EVERY_NS:
        return tuple(table)
    total, capacity = sum(load.shares), sum(worth.values())
    if total < IDLE or capacity <= 0:
        return tuple(table)
    due = {member: total * part // capacity for member, part in worth.items()}
    has = dict.fromkeys(worth, 0)
    for member, weight in zip(table, load.shares, strict=True):
        has[member] += weight
    # One that has frames waiting has all that it can take, whatever its link says of itself.
    for member in load.queued & worth.keys():
        due[member] = min(due[member], has[member] * OVER[1] // OVER[0])
    for _ in range(MOVES):
        giver = max(worth, key=lambda member: has[member] - due[member])
        surplus = has[giver] - due[giver]
        if has[giver] * OVER[1] < due[giver] * OVER[0] or surplus <= 0:
            break
        takers = [member for member in worth if member not in load.queued and member != giver]
        if not takers:
            break
        taker = max(takers, key=lambda member: due[member] - has[member])
        room = min(surplus, _room(due[taker], has[taker], relieves=giver in load.queued))
        least = max(1, min(surplus // MOVES, has[giver] // moved.count(giver) // 2))
        fits = [
            share
            for share, member in enumerate(moved)
            if member == giver and least <= load.shares[share] <= room
        ]
        if not fits:
            break
        share = max(fits, key=lambda one: load.shares[one])
        moved[share] = taker
        has[giver] -= load.shares[share]
        has[taker] += load.shares[share]
    return tuple(moved)


def _room(due: int, has: int, *, relieves: bool) -> int:
    """Bytes that a member can take: up to its due, or a quarter more to relieve a full one."""
    return (due * OVER[0] // OVER[1] if relieves else due) - has

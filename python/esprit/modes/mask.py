"""The transmission mask: who is served with which algorithm, by whom (the document's M8).

It is computed with each Plan, so that no packet is looked up: a member is served by its own
engine, or others back it up, or it is not in the mask.
"""

from __future__ import annotations

from collections.abc import Sequence

from esprit.model.plan import Grant, Mask, Served
from esprit.model.state import EngineState, TeamState


def mask(state: TeamState, grants: Sequence[Grant]) -> Mask:
    """The mask that follows from what engines were verified to do, and what they may.

    Args:
        state: The team: its members that can carry, and the pool's engines.
        grants: What engines may do for it.
    """
    pool = {engine.id: engine for engine in state.engines}
    granted = [(grant, pool[grant.engine]) for grant in grants if grant.engine in pool]
    algorithms = sorted({rate.algorithm for _, engine in granted for rate in engine.rates})
    lines: dict[str, tuple[Served, ...]] = {
        direction: tuple(
            line
            for algorithm in algorithms
            if (line := _served(state, granted, algorithm, direction)) is not None
        )
        for direction in ("seal", "open")
    }
    return Mask(seal=lines["seal"], open=lines["open"])


def _served(
    state: TeamState,
    granted: Sequence[tuple[Grant, EngineState]],
    algorithm: str,
    direction: str,
) -> Served | None:
    able = [
        grant
        for grant, engine in granted
        if (grant.seal if direction == "seal" else grant.open) and engine.does(algorithm, direction)
    ]
    primary = {grant.member for grant in able if grant.primary is not None}
    shared = any(grant.secondary is not None for grant in able)
    members = [member.id for member in state.members if member.can_carry]
    own = tuple(id for id in members if id in primary)  # noqa: A001
    backed = tuple(id for id in members if id not in primary) if shared else ()  # noqa: A001
    return Served(algorithm=algorithm, own=own, backed=backed) if own or backed else None

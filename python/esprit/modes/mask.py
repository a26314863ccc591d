"""The transmission mask: who is served with which algorithm, by whom (the document's M8).

It is computed with each Plan, so that no packet is looked up: a member is served by its own
engine, or others back it up, or it is not in the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from esprit.model.plan import Grant, Mask, Served
from esprit.model.state import TeamState


def mask(state: TeamState, grants: Sequence[Grant]) -> Mask:
    """The mask that follows from what engines were verified to do, and what they may.

    Args:
        state: The team: its members that can carry, and the pool's engines.
        grants: What engines may do for it.
    """
    pool = {engine.id: engine for engine in state.engines}
    # One pass over what engines can do, whatever the number of algorithms: with 256 engines a
    # search for each of them was a quarter of a Plan.
    able: dict[tuple[str, str], _Able] = {}
    for grant in grants:
        engine = pool.get(grant.engine)
        if engine is None or not engine.verified:
            continue
        for rate in engine.rates:
            if grant.seal if rate.direction == "seal" else grant.open:
                able.setdefault((rate.direction, rate.algorithm), _Able()).count(grant)
    members = tuple(member.id for member in state.members if member.can_carry)
    lines: dict[str, list[Served]] = {"seal": [], "open": []}
    for (direction, algorithm), who in sorted(able.items(), key=itemgetter(0)):
        line = who.serve(algorithm, members)
        if line is not None:
            lines[direction].append(line)
    return Mask(seal=tuple(lines["seal"]), open=tuple(lines["open"]))


@dataclass(slots=True)
class _Able:
    """Who does an algorithm in one direction: engines for their own members, and for others."""

    primary: set[int | None] = field(default_factory=set)
    shared: bool = False

    def count(self, grant: Grant) -> None:
        if grant.primary is not None:
            self.primary.add(grant.member)
        self.shared = self.shared or grant.secondary is not None

    def serve(self, algorithm: str, members: tuple[int, ...]) -> Served | None:
        own = tuple(id for id in members if id in self.primary)  # noqa: A001
        backed = tuple(id for id in members if id not in self.primary) if self.shared else ()  # noqa: A001
        return Served(algorithm=algorithm, own=own, backed=backed) if own or backed else None

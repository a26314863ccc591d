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
    # Most engines of a host can do the same, and with 256 of them a look at each algorithm of each
    # was a quarter of a Plan: so they are first put together by what they can and may.
    alike: dict[tuple[frozenset[tuple[str, str]], bool, bool], _Able] = {}
    for grant in grants:
        engine = pool.get(grant.engine)
        if engine is None or not engine.verified:
            continue
        kind = engine.abilities, grant.seal, grant.open
        who = alike.get(kind)
        if who is None:
            who = alike[kind] = _Able()
        if grant.primary is not None and grant.member is not None:
            who.primary.add(grant.member)
        if grant.secondary is not None:
            who.shared = True
    able: dict[tuple[str, str], _Able] = {}
    for (abilities, seal, opens), who in alike.items():
        for direction, algorithm in abilities:
            if seal if direction == "seal" else opens:
                able.setdefault((direction, algorithm), _Able()).join(who)
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

    primary: set[int] = field(default_factory=set)
    shared: bool = False

    def join(self, others: _Able) -> None:
        self.primary |= others.primary
        self.shared = self.shared or others.shared

    def serve(self, algorithm: str, members: tuple[int, ...]) -> Served | None:
        own = tuple(id for id in members if id in self.primary)  # noqa: A001
        backed = tuple(id for id in members if id not in self.primary) if self.shared else ()  # noqa: A001
        return Served(algorithm=algorithm, own=own, backed=backed) if own or backed else None

"""All members carry traffic, flows are hashed to them (the document's ALB)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Final

from esprit.model.plan import Plan
from esprit.model.state import TeamState
from esprit.model.words import ModeName, Software, SourceMac
from esprit.modes.balance import capacities, rebalance
from esprit.modes.base import (
    announcements,
    carrying_now,
    direct,
    elect,
    next_epoch,
    probing,
    roles,
)
from esprit.modes.buckets import spread
from esprit.modes.mask import mask
from esprit.modes.placement import HEADROOM_NS, SPILL, TIE_NS, Place, Standing, grants

#: One tier: tasks go by the present load, an engine's own traffic included. Of engines that
#: would be done alike those are taken whose members cannot carry. There is no headroom here: every
#: member carries, and its traffic too goes to whichever engine is done first. What another team's
#: member is promised holds whatever the mode here is.
PLACES: Final[Mapping[Standing, Place]] = {
    "idle": Place(tier=0),
    "waiting": Place(tier=0),
    "elsewhere": Place(tier=0, bias_ns=TIE_NS, limit_ns=HEADROOM_NS, headroom=True),
    "carrying": Place(tier=0, bias_ns=TIE_NS),
}
SOFTWARE: Final[Mapping[Software, Place]] = {
    "always": Place(tier=0),
    "overflow": Place(tier=1),
}


class BalanceAlb:
    """``balance-alb``."""

    name: ClassVar[ModeName] = "balance-alb"
    #: With one address on all members a learning switch would move it all the time.
    source_mac: ClassVar[SourceMac] = "member"

    def plan(self, state: TeamState) -> Plan:
        """The Plan for this state, one epoch after the last."""
        able = carrying_now(state)
        carrying = frozenset(member.id for member in able)
        receiver = elect(state, able)
        granted = grants(state, carrying, PLACES, SOFTWARE)
        return Plan(
            epoch=next_epoch(state),
            team=state.id,
            latch=state.link_epoch,
            mode=self.name,
            members=roles(state, carrying),
            transmit=self._table(state, carrying),
            receiver=None if receiver is None else receiver.id,
            takeover=tuple(member.id for member in able),
            source_mac=state.source_mac or self.source_mac,
            announce=announcements(state),
            grants=granted,
            spill=SPILL,
            delivery=state.delivery,
            direct=direct(state, carrying),
            mask=mask(state, granted),
            verify_every=state.verify_every,
            probe=probing(state),
            down_delay_ns=state.down_delay_ns,
            receive=state.receive,
        )

    def settled(self, state: TeamState, plan: Plan) -> TeamState:
        """Remember by which weights shares were dealt, and when they were moved."""
        carrying = frozenset(member.id for member in carrying_now(state))
        dealt = tuple(_worth(state, carrying).items())
        before = () if state.plan is None else state.plan.transmit
        moved = dealt == state.load.dealt and plan.transmit != before
        load = replace(
            state.load,
            fresh=False,
            dealt=dealt,
            moved=state.now if moved else state.load.moved,
            # What was measured belongs to the table that it was measured with.
            shares=() if plan.transmit != before else state.load.shares,
        )
        return state if load == state.load else replace(state, load=load)

    def _table(self, state: TeamState, carrying: frozenset[int]) -> tuple[int, ...]:
        """Members by share: dealt anew when members or weights change, else as load demands."""
        worth = _worth(state, carrying)
        last = state.plan
        before = last.transmit if last is not None and last.mode == self.name else ()
        if before and state.load.dealt == tuple(worth.items()):
            return rebalance(before, worth, state.load, state.now)
        return spread(before, worth, heirs=() if last is None else last.takeover)


def _worth(state: TeamState, carrying: frozenset[int]) -> dict[int, int]:
    """Members that carry, in the order of the configuration, with what they can carry."""
    members = [member for member in state.members if member.id in carrying]
    return capacities(
        {member.id: member.weight for member in members},
        {member.id: member.speed for member in members},
    )

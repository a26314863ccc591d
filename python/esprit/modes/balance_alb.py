"""All members carry traffic, flows are hashed to them (the document's ALB)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from esprit.model.plan import Plan
from esprit.model.state import TeamState
from esprit.model.words import ModeName, Software, SourceMac
from esprit.modes.base import announcements, elect, next_epoch, ranking, roles
from esprit.modes.buckets import spread
from esprit.modes.placement import SPILL, Place, Standing, grants

#: One tier: tasks go by the present load. An engine whose member carries bears its own traffic
#: as a bias, so those whose members cannot are loaded first.
PLACES: Final[Mapping[Standing, Place]] = {
    "idle": Place(tier=0),
    "waiting": Place(tier=0),
    "elsewhere": Place(tier=0, bias_load=1.0),
    "carrying": Place(tier=0, bias_load=1.0),
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
        able = ranking(state)
        carrying = frozenset(member.id for member in able)
        receiver = elect(state)
        last = state.plan
        before = last.transmit if last is not None and last.mode == self.name else ()
        return Plan(
            epoch=next_epoch(state),
            team=state.id,
            latch=state.link_epoch,
            mode=self.name,
            members=roles(state, carrying),
            transmit=spread(
                before,
                {member.id: member.weight for member in state.members if member.can_carry},
                heirs=() if last is None else last.takeover,
            ),
            receiver=None if receiver is None else receiver.id,
            takeover=tuple(member.id for member in able),
            source_mac=state.source_mac or self.source_mac,
            announce=announcements(state),
            grants=grants(state, carrying, PLACES, SOFTWARE),
            spill=SPILL,
            delivery=state.delivery,
        )

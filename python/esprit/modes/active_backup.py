"""One member carries all traffic, the others wait for it to fail (the document's AFT)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Final

from esprit.model.plan import Plan
from esprit.model.state import Load, TeamState
from esprit.model.words import ModeName, Software, SourceMac
from esprit.modes.base import (
    announcements,
    carrying_now,
    direct,
    elect,
    next_epoch,
    probing,
    ranking,
    roles,
)
from esprit.modes.mask import mask
from esprit.modes.placement import HEADROOM_NS, SPILL, TIE_NS, Place, Standing, grants

#: Engines whose members do not carry come first, wire-dead and encryption-only ones among
#: them; the active member's engine interleaves others' work only while it has resources to
#: spare. One of another team may be the active one's there, and then has the same to spare.
PLACES: Final[Mapping[Standing, Place]] = {
    "idle": Place(tier=0),
    "waiting": Place(tier=0),
    "elsewhere": Place(tier=0, bias_ns=TIE_NS, limit_ns=HEADROOM_NS, headroom=True),
    "carrying": Place(tier=1, limit_ns=HEADROOM_NS, headroom=True),
}
SOFTWARE: Final[Mapping[Software, Place]] = {
    "always": Place(tier=0),
    "overflow": Place(tier=2),
}


class ActiveBackup:
    """``active-backup``."""

    name: ClassVar[ModeName] = "active-backup"
    #: One address for the host: whoever carries has the team's.
    source_mac: ClassVar[SourceMac] = "team"

    def plan(self, state: TeamState) -> Plan:
        """The Plan for this state, one epoch after the last."""
        active = elect(state, carrying_now(state))
        carrying = frozenset() if active is None else frozenset({active.id})
        granted = grants(state, carrying, PLACES, SOFTWARE)
        return Plan(
            epoch=next_epoch(state),
            team=state.id,
            latch=state.link_epoch,
            mode=self.name,
            members=roles(state, carrying),
            transmit=tuple(carrying),
            receiver=None if active is None else active.id,
            takeover=tuple(m.id for m in ranking(state) if m.id not in carrying),
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
        )

    def settled(self, state: TeamState, plan: Plan) -> TeamState:
        """Nothing is measured, and nothing dealt."""
        return state if state.load == Load() else replace(state, load=Load())

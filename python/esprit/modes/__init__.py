"""Modes: pure functions from what is known of a team to the Plan.

>>> from esprit.model import MemberState, TeamState
>>> from esprit.model.event import LinkChanged
>>> from esprit.modes import decide
>>> eth1, eth2 = (MemberState(id=i, interface=f"eth{i}", link="up") for i in (1, 2))
>>> first = decide(TeamState(id=0, members=(eth1, eth2)))
>>> first.plan.transmit, first.plan.takeover
((1,), (2,))
>>> decide(first.state, LinkChanged(member=1, up=False, epoch=1)).plan.transmit
(2,)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from esprit.model.event import Event
from esprit.model.plan import Plan
from esprit.model.state import TeamState
from esprit.model.words import ModeName
from esprit.modes.active_backup import ActiveBackup
from esprit.modes.balance_alb import BalanceAlb
from esprit.modes.base import Decision, Mode, Notice, deadline
from esprit.modes.observe import observe
from esprit.modes.steady import judged

#: The modes that there are, by name.
MODES: Final[Mapping[ModeName, Mode]] = MappingProxyType(
    {mode.name: mode for mode in (ActiveBackup(), BalanceAlb())}
)


def decide(state: TeamState, event: Event | None = None) -> Decision:
    """What follows from ``event``: the state after it, and the Plan.

    Args:
        state: What was known.
        event: What happened; None only computes the Plan.
    """
    state = judged(state) if event is None else observe(state, event)
    last = state.plan
    mode = MODES[state.mode]
    plan = mode.plan(state)
    after = replace(
        mode.settled(state, plan),
        plan=plan,
        active=plan.receiver if plan.transmit else state.active,
    )
    return Decision(
        state=after,
        plan=plan,
        changed=not plan.same_as(last),
        clears=last is None or plan.latch > last.latch,
        notices=tuple(_notices(last, plan)),
        deadline=deadline(after),
    )


def _notices(last: Plan | None, plan: Plan) -> list[Notice]:
    found = []
    sharing, spreading, ipsec = plan.sharing, plan.spreading, plan.ipsec
    before = (False, False, False)
    if last is not None:
        # Mostly nothing changed in what engines may do, and counting them again says so late.
        same = last.grants == plan.grants
        before = (
            sharing if same else last.sharing,
            spreading if same else last.spreading,
            ipsec if same and last.members == plan.members else last.ipsec,
        )
    if sharing != before[0]:
        found.append(Notice(what="sharing", before=int(before[0]), after=int(sharing)))
    if spreading != before[1]:
        found.append(Notice(what="spreading", before=int(before[1]), after=int(spreading)))
    if ipsec != before[2]:
        found.append(Notice(what="ipsec", before=int(before[2]), after=int(ipsec)))
    receiver = None if last is None else last.receiver
    if plan.receiver != receiver:
        found.append(Notice(what="active", before=receiver, after=plan.receiver))
    return found


__all__ = ["MODES", "Decision", "Mode", "Notice", "decide", "observe"]

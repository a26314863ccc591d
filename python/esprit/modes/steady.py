"""Who hears, and who stays back for a while because its link or its port was not steady.

A member whose link returns may bring more trouble than help: a switch port that learns for
seconds, a connector that hangs loose. It is held back for the team's ``up_delay``, longer each
time it falls again; but where nobody else can carry, it carries at once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from esprit.model.state import MemberState, TeamState

#: The longest hold, unless ``up_delay`` itself is longer: a minute outlasts a spanning tree that
#: converges anew (30 to 50 s), and whoever has mended a link need not wait longer to see it used.
LONGEST_NS: Final = 60_000_000_000

#: A member that fell no sooner than this after its last hold was steady: its next one is
#: ``up_delay`` again.
STEADY_NS: Final = LONGEST_NS

#: The first hold of a member whose port refused frames, if ``up_delay`` is shorter. Its link is
#: up, so no event will say that it works again: it is tried, and a second is long against the
#: losses of one trial.
REFUSED_NS: Final = 1_000_000_000


def judged(state: TeamState) -> TeamState:
    """With those marked deaf whose own fault it is.

    Where no member hears anything, the members are not at fault but what they listen to (nobody
    answers, or they stand on segments that do not meet): then hearing says nothing.
    """
    sound = [member for member in state.members if member.carry and member.link == "up"]
    telling = any(member.heard for member in sound)
    members = tuple(
        replace(member, deaf=deaf) if member.deaf != deaf else member
        for member in state.members
        for deaf in (telling and not member.heard and member.link == "up",)
    )
    return state if members == state.members else replace(state, members=members)


def steadied(before: TeamState, after: TeamState) -> TeamState:
    """With the holds of members that fell or rose between two states."""
    if before.members is after.members:
        return after
    known = {member.id: member for member in before.members}
    for member in after.members:
        old = known.get(member.id)
        if old is None or old.can_carry == member.can_carry:
            continue
        changed = (
            held(member, after, after.up_delay_ns)
            if member.can_carry
            else replace(member, fell=after.now)
        )
        after = after.with_member(changed)
    return after


def held(member: MemberState, state: TeamState, least: int) -> MemberState:
    """The member as it comes back now, held for ``least`` nanoseconds or longer."""
    unsteady = member.hold_ns > 0 and member.fell < member.held_until + STEADY_NS
    hold = min(2 * member.hold_ns, max(LONGEST_NS, least)) if unsteady else least
    hold = max(hold, least)
    return replace(member, since=state.now, hold_ns=hold, held_until=state.now + hold)

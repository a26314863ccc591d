"""What a mode is, and what all modes share.

A mode is a pure function from the team's state to a Plan. It never picks an engine for a packet:
it says who carries, who takes over and where engines stand, and the data plane evaluates that on
the live load.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from esprit.model.plan import Announcement, MemberRole, Plan
from esprit.model.state import MemberState, TeamState
from esprit.model.words import ModeName, SourceMac


class Mode(Protocol):
    """A way of teaming."""

    name: ClassVar[ModeName]
    source_mac: ClassVar[SourceMac]

    def plan(self, state: TeamState) -> Plan:
        """The Plan for this state, one epoch after the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A line that the last Plan crossed.

    Attributes:
        what: ``sharing`` needs one engine that works for others, ``spreading`` two (numbers are
            0 and 1 then); ``active`` is who carries or receives (numbers are members).
    """

    what: Literal["sharing", "spreading", "active"]
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What follows from an event.

    Attributes:
        state: The state after it; its ``plan`` is the new one.
        plan: The Plan to publish.
        changed: Whether it says anything that the last one did not.
        clears: Whether it has seen link changes that the last one had not, and so clears
            latches.
        notices: Lines that it crossed.
    """

    state: TeamState
    plan: Plan
    changed: bool
    clears: bool
    notices: tuple[Notice, ...]

    @property
    def to_publish(self) -> bool:
        """Whether the data plane needs this Plan."""
        return self.changed or self.clears


def ranking(state: TeamState) -> tuple[MemberState, ...]:
    """Members that can carry, best first: by priority, then in the order of the configuration."""
    able = [member for member in state.members if member.can_carry]
    return tuple(sorted(able, key=lambda member: -member.priority))


def elect(state: TeamState) -> MemberState | None:
    """The member that carries (``active-backup``) or receives (``balance-alb``).

    The one that does so now goes on while it can; with ``failback = "better"``, only while no
    member of a higher priority can.
    """
    able = ranking(state)
    if not able:
        return None
    incumbent = next((member for member in able if member.id == state.active), None)
    if incumbent is None:
        return able[0]
    if state.failback == "better" and able[0].priority > incumbent.priority:
        return able[0]
    return incumbent


def next_epoch(state: TeamState) -> int:
    """The epoch after the last Plan's."""
    return 1 if state.plan is None else state.plan.epoch + 1


def roles(state: TeamState, accepting: frozenset[int]) -> tuple[MemberRole, ...]:
    """The members' parts; those in ``accepting`` take what is sent to their own address."""
    return tuple(
        MemberRole(id=member.id, carry=member.can_carry, accept=member.id in accepting)
        for member in state.members
    )


def announcements(state: TeamState) -> tuple[Announcement, ...]:
    """The frames of whoever may come to receive, best first."""
    if not state.announcements:
        return ()
    return tuple(
        Announcement(member=member.id, frames=state.announcements) for member in ranking(state)
    )

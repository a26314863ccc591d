"""What a mode is, and what all modes share.

A mode is a pure function from the team's state to a Plan. It never picks an engine for a packet:
it says who carries, who takes over and where engines stand, and the data plane evaluates that on
the live load.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from esprit.model.plan import Announcement, MemberRole, Plan, Probe
from esprit.model.state import MemberState, TeamState
from esprit.model.words import ModeName, SourceMac


class Mode(Protocol):
    """A way of teaming."""

    name: ClassVar[ModeName]
    source_mac: ClassVar[SourceMac]

    def plan(self, state: TeamState) -> Plan:
        """The Plan for this state, one epoch after the last."""

    def settled(self, state: TeamState, plan: Plan) -> TeamState:
        """What the mode has to remember of the state from which it made this Plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A line that the last Plan crossed.

    Attributes:
        what: ``sharing`` needs one engine that works for others, ``spreading`` two, ``ipsec``
            one that seals and one that opens for a member that may carry (numbers are 0 and 1
            then); ``active`` is who carries or receives (numbers are members).
    """

    what: Literal["sharing", "spreading", "ipsec", "active"]
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
        deadline: When to be woken by a :class:`~esprit.model.event.Ticked` at the latest, since
            time alone will change the Plan; None: not at all.
    """

    state: TeamState
    plan: Plan
    changed: bool
    clears: bool
    notices: tuple[Notice, ...]
    deadline: int | None = None

    @property
    def to_publish(self) -> bool:
        """Whether the data plane needs this Plan."""
        return self.changed or self.clears


def merit(member: MemberState, state: TeamState) -> tuple[bool, int]:
    """How much a member is preferred: the preferred one to all, then by priority."""
    return member.interface == state.preferred, member.priority


def ranking(state: TeamState) -> tuple[MemberState, ...]:
    """Members that can carry, best first.

    Those that are held back come last; then by merit, then in the order of the configuration.
    """
    able = [member for member in state.members if member.can_carry]
    able.sort(key=lambda member: (state.ready(member), merit(member, state)), reverse=True)
    return tuple(able)


def carrying_now(state: TeamState) -> tuple[MemberState, ...]:
    """Members that may carry now, best first: one that is held back only if all are."""
    able = ranking(state)
    return tuple(member for member in able if state.ready(member)) or able


def elect(state: TeamState, able: tuple[MemberState, ...]) -> MemberState | None:
    """The member that carries (``active-backup``) or receives (``balance-alb``), of those able to.

    The one that does so now goes on while it can, unless the team's ``failback`` lets another
    take the traffic back that was fit to carry for ``failback_delay``.
    """
    incumbent = next((member for member in able if member.id == state.active), None)
    if incumbent is None:
        return able[0] if able else None
    for member in able:
        if member is incumbent:
            break
        if _takes_back(member, incumbent, state) and state.now >= _waited(member, state):
            return member
    return incumbent


def _takes_back(member: MemberState, incumbent: MemberState, state: TeamState) -> bool:
    """Whether ``member``, which is ranked before one that works, may take its traffic."""
    if state.failback == "better":
        return merit(member, state) > merit(incumbent, state)
    return state.failback == "always"


def _waited(member: MemberState, state: TeamState) -> int:
    """When a member has been fit for as long as ``failback_delay`` says."""
    return max(member.since, member.held_until) + state.failback_delay_ns


def deadline(state: TeamState) -> int | None:
    """When time alone changes who carries: a hold ends, or a better member has waited."""
    able = [member for member in state.members if member.can_carry]
    due = [member.held_until for member in able]
    if state.failback != "never":
        due += [_waited(member, state) for member in able if member.id != state.active]
    return min((at for at in due if at > state.now), default=None)


def probing(state: TeamState) -> Probe | None:
    """How members are probed: by each other, so by two at least, or by asking neighbours."""
    wanted = state.probe
    if wanted.every_ns <= 0 or (len(state.members) < 2 and not state.asks):
        return None
    known = {member.id for member in state.members}
    return Probe(
        every_ns=wanted.every_ns,
        miss=wanted.miss,
        of=wanted.of,
        hold_ns=wanted.hold_ns,
        asks=tuple(ask for ask in state.asks if ask.member in known),
    )


def direct(state: TeamState, carrying: frozenset[int]) -> tuple[int, ...]:
    """Members that may send what another asked for: they carry, and can send its address."""
    if state.delivery == "return":
        return ()
    return tuple(m.id for m in state.members if m.id in carrying and m.sends_foreign)


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

"""How an event changes what is known of a team. Nothing is decided here.

Links and engines are tables: each (state, what happened) is a row, or is left as it is for a
reason that stands beside the table.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

from esprit.model.event import (
    ActiveChosen,
    AnnouncementsChanged,
    AsksChanged,
    EngineJoined,
    EngineLeft,
    EngineReported,
    Event,
    ForeignTried,
    LinkChanged,
    LoadMeasured,
    MemberJoined,
    MemberLeft,
    PortLost,
    Probed,
    Resynced,
    SendingFailed,
    SettingsChanged,
    TookOver,
)
from esprit.model.state import SETTINGS, TeamState
from esprit.model.words import Health, Link
from esprit.modes import steady
from esprit.modes.balance import smoothed

Wire = Literal["rose", "fell", "vanished"]

#: No row leads out of ``gone``: a socket whose interface was deleted stays dead, also when
#: another interface of that name appears. A rebuilt port is a :class:`MemberJoined`.
LINKS: Final[dict[tuple[Link, Wire], Link]] = {
    ("down", "rose"): "up",
    ("up", "rose"): "up",
    ("up", "fell"): "down",
    ("down", "fell"): "down",
    ("up", "vanished"): "gone",
    ("down", "vanished"): "gone",
}

#: By the pool's words, and ``refused`` for a test that failed. No row leads from ``hung``,
#: ``quarantined`` or ``failed`` to ``ok``: such an engine is tested again first, and joins anew by
#: :class:`EngineJoined`. A ``late`` or ``wrong`` answer moves nothing by itself; the pool says
#: what follows from it.
ENGINES: Final[dict[tuple[Health, str], Health]] = {
    ("ok", "failed"): "suspect",
    ("suspect", "recovered"): "ok",
    ("ok", "hung"): "hung",
    ("suspect", "hung"): "hung",
    ("ok", "quarantined"): "quarantined",
    ("suspect", "quarantined"): "quarantined",
    ("hung", "quarantined"): "quarantined",
    ("untested", "refused"): "failed",
    ("ok", "refused"): "failed",
    ("suspect", "refused"): "failed",
    ("hung", "refused"): "failed",
    ("quarantined", "refused"): "failed",
}


def observe(state: TeamState, event: Event) -> TeamState:
    """What is known after ``event``. One that tells nothing new leaves the state as it is."""
    if event.time > state.now:
        state = replace(state, now=event.time)
    return steady.steadied(state, steady.judged(_observed(state, event)))


def _observed(state: TeamState, event: Event) -> TeamState:
    match event:
        case LinkChanged():
            if event.epoch < state.link_epoch:
                return state  # a snapshot has told more already
            state = _wire(state, event.member, "rose" if event.up else "fell")
            return replace(state, link_epoch=event.epoch)
        case Probed():
            if event.epoch < state.link_epoch:
                return state
            return replace(_hears(state, event.member, event.heard), link_epoch=event.epoch)
        case SendingFailed():
            return _refused(state, event)
        case PortLost():
            state = _wire(state, event.member, "vanished")
            return replace(state, link_epoch=max(state.link_epoch, event.epoch))
        case TookOver():
            if event.epoch < state.link_epoch:
                return state
            if event.epoch > state.link_epoch:
                # A takeover has the epoch of what led to it. That event was lost: most tell of a
                # link that fell, and the snapshot that is read after a loss tells of all.
                state = _wire(state, event.lost, "fell")
            heir = state.member(event.heir) if event.heir is not None else None
            keep = heir is not None and heir.can_carry and state.active in (event.lost, None)
            return replace(
                state,
                link_epoch=event.epoch,
                active=heir.id if keep and heir is not None else state.active,
            )
        case EngineReported():
            engine = state.engine(event.engine) if event.engine is not None else None
            if engine is None:
                return state
            health = ENGINES.get((engine.health, event.what), engine.health)
            return state.with_engine(replace(engine, health=health))
        case LoadMeasured():
            return _measured(state, event)
        case ForeignTried():
            member = state.member(event.member)
            if member is None or member.foreign == event.able:
                return state
            return state.with_member(replace(member, foreign=event.able))
        case MemberJoined():
            return _joined(state, event)
        case MemberLeft():
            # Its engine leaves with it; the pool hears of that as an engine of its own.
            return replace(
                state,
                members=tuple(m for m in state.members if m.id != event.member),
                engines=tuple(e for e in state.engines if e.member != event.member),
                active=None if state.active == event.member else state.active,
            )
        case EngineJoined():
            return state.with_engine(event.engine)
        case EngineLeft():
            return replace(state, engines=tuple(e for e in state.engines if e.id != event.engine))
        case SettingsChanged():
            wanted = {name: getattr(event, name) for name in SETTINGS}
            changed = {name: value for name, value in wanted.items() if value is not None}
            return replace(state, **changed)
        case AsksChanged():
            return replace(state, asks=event.asks)
        case AnnouncementsChanged():
            return replace(state, announcements=event.frames)
        case ActiveChosen():
            member = state.member(event.member)
            return state if member is None else replace(state, active=member.id)
        case Resynced():
            return _resynced(state, event)
        case _:
            return state


def _wire(state: TeamState, id: int, what: Wire) -> TeamState:  # noqa: A002
    member = state.member(id)
    if member is None:
        return state
    return state.with_member(replace(member, link=LINKS.get((member.link, what), member.link)))


def _joined(state: TeamState, event: MemberJoined) -> TeamState:
    """A new member is as it says; one that was rebuilt was not steady before, and stays known."""
    old = state.member(event.member.id)
    if old is None:
        return state.with_member(replace(event.member, since=state.now))
    return state.with_member(
        replace(
            event.member,
            since=old.since,
            fell=old.fell,
            held_until=old.held_until,
            hold_ns=old.hold_ns,
        )
    )


def _hears(state: TeamState, id: int, heard: bool) -> TeamState:  # noqa: A002
    member = state.member(id)
    if member is None or member.heard == heard:
        return state
    return state.with_member(replace(member, heard=heard))


def _refused(state: TeamState, event: SendingFailed) -> TeamState:
    """A port that refuses frames is tried again after a while: nothing else tells that it works."""
    member = state.member(event.member)
    if event.epoch < state.link_epoch:
        return state
    if member is not None and member.can_carry:
        fallen = replace(member, fell=state.now)
        least = max(state.up_delay_ns, steady.REFUSED_NS)
        state = state.with_member(steady.held(fallen, state, least))
    return replace(state, link_epoch=event.epoch)


def _measured(state: TeamState, event: LoadMeasured) -> TeamState:
    for id, speed in sorted(event.speeds.items()):  # noqa: A001
        member = state.member(id)
        if member is not None and member.speed != speed:
            state = state.with_member(replace(member, speed=speed))
    shares = smoothed(state.load.shares, event.shares)
    load = replace(state.load, shares=shares, queued=event.queued, fresh=True)
    return replace(state, load=load)


def _resynced(state: TeamState, event: Resynced) -> TeamState:
    if event.epoch < state.link_epoch:
        return state
    for member, up in sorted(event.links.items()):
        state = _wire(state, member, "rose" if up else "fell")
    for member, hears in sorted(event.heard.items()):
        state = _hears(state, member, hears)
    for id, health in sorted(event.health.items()):  # noqa: A001
        engine = state.engine(id)
        # A snapshot brings bad news of an engine, never good: that takes a test.
        if engine is not None and engine.verified:
            state = state.with_engine(replace(engine, health=health))
    return replace(state, link_epoch=event.epoch)

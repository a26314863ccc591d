"""What happens to a team, as frozen values that carry their time.

The first group comes from the data plane, as hints: state is never rebuilt from it alone.
The second is what the control plane did, and tells the mode. Times are nanoseconds of the
monotonic clock; pure code gets them here and asks no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from esprit.model.plan import Ask
from esprit.model.spec import ProbeSpec
from esprit.model.state import EngineState, MemberState
from esprit.model.words import (
    Delivery,
    Failback,
    Health,
    ModeName,
    Receive,
    Software,
    SourceMac,
)

Detail = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something happened at ``time``."""

    kind: ClassVar[str] = "event"

    time: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkChanged(Event):
    """A member's link rose or fell; ``epoch`` numbers the links' changes of the process."""

    kind: ClassVar[str] = "link"

    member: int
    up: bool
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TookOver(Event):
    """A worker moved what ``lost`` did to ``heir`` (None: nobody is left)."""

    kind: ClassVar[str] = "takeover"

    team: int
    lost: int
    heir: int | None
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed(Event):
    """A member went deaf, or hears again: its link is up either way.

    The worker latched one that went deaf, as it does with a link that fell.
    """

    kind: ClassVar[str] = "probe"

    member: int
    heard: bool
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingFailed(Event):
    """A member's port refused frame after frame; the worker latched the member."""

    kind: ClassVar[str] = "tx-errors"

    member: int
    count: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PortLost(Event):
    """A member's interface was deleted: its port has to be rebuilt."""

    kind: ClassVar[str] = "port-gone"

    member: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReported(Event):
    """The pool says something of an engine: ``what`` is its word, the rest are details."""

    kind: ClassVar[str] = "engine"

    engine: int | None
    what: str
    details: tuple[tuple[str, Detail], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NumbersWanted(Event):
    """An outbound SA has used half of its granted numbers; ``next`` is the next it will use."""

    kind: ClassVar[str] = "sa-grant"

    sa: int
    next: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NumbersExhausted(Event):
    """An outbound SA has no numbers left and drops what it should seal."""

    kind: ClassVar[str] = "sa-exhausted"

    sa: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Panicked(Event):
    """A thread of the data plane failed. Its doors are closed."""

    kind: ClassVar[str] = "panic"

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsLost(Event):
    """Events were not kept: read a snapshot and tell the mode by :class:`Resynced`."""

    kind: ClassVar[str] = "lost"

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown(Event):
    """An event of a newer data plane."""

    kind: ClassVar[str] = "unknown"

    name: str
    details: tuple[tuple[str, Detail], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked(Event):
    """The time has come that a :class:`~esprit.modes.base.Decision` asked to be woken at."""

    kind: ClassVar[str] = "tick"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadMeasured(Event):
    """What members and shares of the flow hash had to do since the last time, about a second.

    Attributes:
        shares: Bytes by share; empty if that was not to be had.
        speeds: Links' speeds in Mbit/s by member, where links say so.
        queued: Members that had frames waiting.
    """

    kind: ClassVar[str] = "load"

    shares: tuple[int, ...] = ()
    speeds: Mapping[int, int | None]
    queued: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignTried(Event):
    """A member was found to send source addresses that are not its own, or not to."""

    kind: ClassVar[str] = "foreign"

    member: int
    able: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AsksChanged(Event):
    """The requests changed by which members find out that a neighbour answers."""

    kind: ClassVar[str] = "asks"

    asks: tuple[Ask, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberJoined(Event):
    """A member was added, or one of its number was rebuilt or changed."""

    kind: ClassVar[str] = "member-joined"

    member: MemberState


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberLeft(Event):
    """A member is to be removed: the next Plan is without it, and without its engine."""

    kind: ClassVar[str] = "member-left"

    member: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineJoined(Event):
    """An engine was admitted, or verified again."""

    kind: ClassVar[str] = "engine-joined"

    engine: EngineState


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLeft(Event):
    """An engine is to be removed: the next Plan is without it."""

    kind: ClassVar[str] = "engine-left"

    engine: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsChanged(Event):
    """The operator changed the team; None leaves a setting as it is.

    An empty ``preferred`` prefers nobody any more.
    """

    kind: ClassVar[str] = "settings"

    mode: ModeName | None = None
    software: Software | None = None
    failback: Failback | None = None
    failback_delay_ns: int | None = None
    preferred: str | None = None
    up_delay_ns: int | None = None
    down_delay_ns: int | None = None
    headroom: float | None = None
    receive: Receive | None = None
    verify_every: int | None = None
    probe: ProbeSpec | None = None
    delivery: Delivery | None = None
    source_mac: SourceMac | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncementsChanged(Event):
    """The team's addresses changed, and so the frames that announce them."""

    kind: ClassVar[str] = "announcements"

    frames: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveChosen(Event):
    """The operator wants this member to carry, or to receive."""

    kind: ClassVar[str] = "active-chosen"

    member: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resynced(Event):
    """What a snapshot says, after events were lost.

    Attributes:
        epoch: The snapshot's link epoch.
        links: Members by number: whether frames can pass. A member that is not named is
            left as it is.
        heard: Members by number: whether they hear; one that is not named is left as it is.
        health: Engines by number.
    """

    kind: ClassVar[str] = "resync"

    epoch: int
    links: Mapping[int, bool]
    health: Mapping[int, Health]
    heard: Mapping[int, bool] = field(default_factory=dict)


def _int(found: Mapping[str, object], key: str) -> int:
    value = found.get(key)
    return value if isinstance(value, int) else 0


def _optional(found: Mapping[str, object], key: str) -> int | None:
    value = found.get(key)
    return value if isinstance(value, int) else None


def _details(found: Mapping[str, object], *used: str) -> tuple[tuple[str, Detail], ...]:
    return tuple(
        (key, value if isinstance(value, (str, int, float)) or value is None else str(value))
        for key, value in sorted(found.items())
        if key not in ("kind", "time", *used)
    )


def from_native(found: Mapping[str, object]) -> Event:
    """The event that the data plane's dict describes.

    Never raises: a kind that is not known becomes :class:`Unknown`, for a hint that is not
    understood is no reason to stop listening.
    """
    time = _int(found, "time")
    match found.get("kind"):
        case "link":
            return LinkChanged(
                time=time,
                member=_int(found, "member"),
                up=bool(found.get("up")),
                epoch=_int(found, "epoch"),
            )
        case "takeover":
            return TookOver(
                time=time,
                team=_int(found, "team"),
                lost=_int(found, "from"),
                heir=_optional(found, "to"),
                epoch=_int(found, "epoch"),
            )
        case "port-gone":
            return PortLost(time=time, member=_int(found, "member"), epoch=_int(found, "epoch"))
        case "probe":
            return Probed(
                time=time,
                member=_int(found, "member"),
                heard=bool(found.get("heard")),
                epoch=_int(found, "epoch"),
            )
        case "tx-errors":
            return SendingFailed(
                time=time,
                member=_int(found, "member"),
                count=_int(found, "count"),
                epoch=_int(found, "epoch"),
            )
        case "engine":
            return EngineReported(
                time=time,
                engine=_optional(found, "engine"),
                what=str(found.get("event", "")),
                details=_details(found, "engine", "event"),
            )
        case "sa-grant":
            return NumbersWanted(time=time, sa=_int(found, "sa"), next=_int(found, "next"))
        case "sa-exhausted":
            return NumbersExhausted(time=time, sa=_int(found, "sa"))
        case "panic":
            return Panicked(time=time, message=str(found.get("message", "")))
        case "lost":
            return EventsLost(time=time, count=_int(found, "count"))
        case kind:
            return Unknown(time=time, name=str(kind), details=_details(found))

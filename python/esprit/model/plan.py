"""The Plan: what Python decided, as an immutable value that the data plane obeys until the next."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

from esprit.model.words import Delivery, ModeName, Receive, SourceMac

if TYPE_CHECKING:
    from esprit import _native as native

#: Shares that a team's flows are cut into; the data plane's own number (``plan.rs``).
BUCKETS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRole:
    """A member's part.

    Attributes:
        carry: It may send, now or by taking over.
        accept: It may accept what is sent to its own address; the team's is the receiver's.
    """

    id: int
    carry: bool
    accept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one engine may do for the team.

    Attributes:
        member: The member whose own engine it is.
        primary: Its tier for its own member's traffic, 0 first; None: not at all.
        secondary: Its tier for other traffic of the team.
        application: Its tier for applications' tasks.
        bias_ns: Added to its cost: the higher, the later it is chosen within its tier.
        bias_load: Its own primary backlog, times this, is added as well.
        limit_ns: It takes secondary work only below this backlog.
        headroom: It takes secondary work only as far as its own member's traffic waits no
            longer than by this share of the time that it takes through it.
        beside_ns: It takes applications' work only below this backlog while it works for teams.
    """

    engine: int
    member: int | None = None
    seal: bool = True
    open: bool = True
    primary: int | None = None
    secondary: int | None = None
    application: int | None = None
    bias_ns: int = 0
    bias_load: float = 0.0
    limit_ns: int | None = None
    headroom: float | None = None
    beside_ns: int | None = None

    def to_native(self) -> native.Grant:
        """The grant as the data plane reads it."""
        return {
            "engine": self.engine,
            "member": self.member,
            "seal": self.seal,
            "open": self.open,
            "primary": self.primary,
            "secondary": self.secondary,
            "application": self.application,
            "bias_ns": self.bias_ns,
            "bias_load": self.bias_load,
            "limit_ns": self.limit_ns,
            "headroom": self.headroom,
            "beside_ns": self.beside_ns,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Spill:
    """How late an engine may be expected to finish before work goes to the next tier, in ns."""

    primary: int
    secondary: int
    application: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """Ethernet frames that a member sends at once when it takes over."""

    member: int
    frames: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Who is served with one algorithm in one direction: a line of the transmission mask (M8).

    Attributes:
        own: Members whose own engine does it.
        backed: Members that others back up.
    """

    algorithm: str
    own: tuple[int, ...] = ()
    backed: tuple[int, ...] = ()

    def to_native(self) -> native.Served:
        """The line as the data plane reads it."""
        return {
            "algorithm": self.algorithm,
            "own": list(self.own),
            "backed": list(self.backed),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """The transmission mask: members by algorithm and direction, so that no packet is looked up."""

    seal: tuple[Served, ...] = ()
    open: tuple[Served, ...] = ()

    def to_native(self) -> native.Mask:
        """The mask as the data plane reads it."""
        return {
            "seal": [one.to_native() for one in self.seal],
            "open": [one.to_native() for one in self.open],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A ready-made ARP or ND request by which a member finds out that a neighbour answers."""

    member: int
    address: str
    frame: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How members are probed.

    Attributes:
        every_ns: Nanoseconds between two probes.
        miss: A member is deaf that missed so many ...
        of: ... of the last so many.
        hold_ns: It counts as hearing again once it heard for so long without a miss.
        asks: Neighbours that are asked besides the other members.
    """

    every_ns: int
    miss: int
    of: int
    hold_ns: int
    asks: tuple[Ask, ...] = ()

    def to_native(self) -> native.Probe:
        """The probing as the data plane reads it."""
        return {
            "every_ns": self.every_ns,
            "miss": self.miss,
            "of": self.of,
            "hold_ns": self.hold_ns,
            "asks": [
                {"member": ask.member, "address": ask.address, "frame": ask.frame.hex()}
                for ask in self.asks
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Who transmits, who receives, who takes over, and which engine may do what.

    Attributes:
        epoch: Grows with every Plan of the team.
        latch: The last link epoch that had been heard of when this was computed: latches up to
            it are cleared, later ones stay.
        transmit: Members by share of the flow hash: none, one, or :data:`BUCKETS`.
        receiver: The one member that accepts broadcast, multicast and the team's address.
        takeover: Who takes over for a member that is lost, best first.
        verify_every: Of so many sealed jobs one is opened again before it leaves; 0: none.
        direct: Members that may send what another asked for, with its source address.
        mask: Who is served with which algorithm; None: whoever the grants serve.
        probe: How members are probed; None: not at all.
        down_delay_ns: A link counts as fallen once it was down for so long.
        receive: Who receives unicast in ``balance-alb``.
    """

    epoch: int
    team: int
    latch: int
    mode: ModeName
    members: tuple[MemberRole, ...]
    transmit: tuple[int, ...]
    receiver: int | None
    takeover: tuple[int, ...]
    source_mac: SourceMac
    announce: tuple[Announcement, ...]
    grants: tuple[Grant, ...]
    spill: Spill
    delivery: Delivery = "return"
    verify_every: int = 0
    direct: tuple[int, ...] = ()
    mask: Mask | None = None
    probe: Probe | None = None
    down_delay_ns: int = 0
    receive: Receive = "single"

    @property
    def carriers(self) -> frozenset[int]:
        """Members that carry traffic now."""
        return frozenset(self.transmit)

    @property
    def sharing(self) -> bool:
        """Whether at least one engine works for others than its own member."""
        return any(grant.secondary is not None for grant in self.grants)

    @property
    def spreading(self) -> bool:
        """Whether at least two engines do, so that their work is spread."""
        return sum(grant.secondary is not None for grant in self.grants) > 1

    @property
    def ipsec(self) -> bool:
        """Whether the team has what IPsec needs for a member that may carry."""
        served = self.protected
        return any(role.carry and (None in served or role.id in served) for role in self.members)

    @property
    def protected(self) -> frozenset[int | None]:
        """Members for whose traffic some engine may seal and some may open; None: all."""
        seal: set[int | None] = set()
        opens: set[int | None] = set()
        for grant in self.grants:
            if grant.secondary is not None:
                who = None
            elif grant.primary is not None and grant.member is not None:
                who = grant.member
            else:
                continue
            if grant.seal:
                seal.add(who)
            if grant.open:
                opens.add(who)
        if None in seal and None in opens:
            return frozenset((None,))
        if None in seal:
            return frozenset(opens)
        return frozenset(seal if None in opens else seal & opens)

    def protects(self, member: int) -> bool:
        """Whether some engine may seal and some engine may open for this member's traffic."""
        served = self.protected
        return None in served or member in served

    @property
    def protects_any(self) -> bool:
        """Whether it does so for any member."""
        served = self.protected
        return None in served or any(role.id in served for role in self.members)

    def same_as(self, other: Plan | None) -> bool:
        """Whether both say the same, but for their epochs."""
        return other is not None and all(
            getattr(self, name) == getattr(other, name) for name in _SAID
        )

    def to_native(self) -> native.Plan:
        """The Plan as :meth:`esprit._native.DataPlane.publish` takes it."""
        return {
            "epoch": self.epoch,
            "team": self.team,
            "latch": self.latch,
            "mode": self.mode,
            "members": [
                {"id": role.id, "carry": role.carry, "accept": role.accept} for role in self.members
            ],
            "transmit": list(self.transmit),
            "receiver": self.receiver,
            "takeover": list(self.takeover),
            "mac": self.source_mac,
            "announce": [
                {"member": a.member, "frames": [frame.hex() for frame in a.frames]}
                for a in self.announce
            ],
            "grants": {
                "engines": [grant.to_native() for grant in self.grants],
                "spill_ns": (self.spill.primary, self.spill.secondary, self.spill.application),
                "verify_every": self.verify_every,
            },
            "delivery": self.delivery,
            "direct": list(self.direct),
            "mask": None if self.mask is None else self.mask.to_native(),
            "probe": None if self.probe is None else self.probe.to_native(),
            "down_delay_ns": self.down_delay_ns,
            "receive": self.receive,
        }


#: All that a Plan says, but for its epochs.
_SAID: Final = tuple(one.name for one in fields(Plan) if one.name not in ("epoch", "latch"))

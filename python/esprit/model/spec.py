"""What the operator wants: a team with its members and engines, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import TYPE_CHECKING, Final

from esprit.model.words import (
    Delivery,
    EngineKind,
    Failback,
    ModeName,
    Receive,
    Software,
    SourceMac,
)

if TYPE_CHECKING:
    from esprit import _native as native
    from esprit.model.security import Policy, SecurityAssociation

#: What a device need not say: the data plane has a value for each.
_LEFT_OPEN: Final = (
    "rate_bps",
    "ns_per_packet",
    "latency_ns",
    "coalesce_ns",
    "queue_ns",
    "queue_jobs",
    "memory",
    "sa_slots",
    "key_install_ns",
    "patience_ns",
    "max_replay_window",
)

#: Ciphers that an engine has if it does not say otherwise: all that there are.
ALGORITHMS = ("aes-128-gcm-16", "aes-256-gcm-16", "chacha20-poly1305")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """An engine to be made and tested.

    Only ``threads`` belongs to ``cpu`` (0 is the worker itself). The others belong to ``asic``, a
    *simulated* NIC encryption processor; None leaves the choice to the data plane.

    Attributes:
        rate_bps: Bits per second.
        ns_per_packet: Nanoseconds for each packet, on top of its bytes.
        latency_ns: Nanoseconds from the end of the work to the completion.
        coalesce_ns: Nanoseconds for which completions are gathered and told together; 0: they
            are not.
        queue_ns: How much work it takes ahead of time, in nanoseconds at its rate.
        queue_jobs: Jobs in flight at most.
        memory: Bytes in flight at most.
        sa_slots: Keys that it holds at a time.
        key_install_ns: Nanoseconds to install a key that it does not hold.
        transfer_ns: Nanoseconds that others' jobs are on the way to it and back.
        transfer_bps: Bits per second of that way.
        patience_ns: A job is late by so many nanoseconds at least before it counts as hung.
        esn: It takes extended sequence numbers; else it is given no job of an SA with them.
        max_replay_window: The largest replay window that it keeps; it opens nothing of an SA
            with a larger one.
        lookaside: It takes a job and gives it back.
        inline: It works on what passes through its own NIC.
        primary: It works for its own member's traffic.
        secondary: It works for others.
    """

    name: str
    kind: EngineKind
    threads: int = 1
    rate_bps: int | None = None
    ns_per_packet: int | None = None
    latency_ns: int | None = None
    coalesce_ns: int | None = None
    queue_ns: int | None = None
    queue_jobs: int | None = None
    memory: int | None = None
    sa_slots: int | None = None
    key_install_ns: int | None = None
    transfer_ns: int | None = None
    transfer_bps: int | None = None
    patience_ns: int | None = None
    esn: bool = True
    max_replay_window: int | None = None
    algorithms: tuple[str, ...] = ALGORITHMS
    lookaside: bool = True
    inline: bool = False
    primary: bool = True
    secondary: bool = True

    @property
    def simulated(self) -> bool:
        """Whether it imitates a device that is not there. Users are always told."""
        return self.kind == "asic"

    @property
    def costs_host_cpu(self) -> bool:
        """Whether its work takes the host's processors, so that ``software`` places it."""
        return self.kind == "cpu"

    def to_native(self, *, id: int, member: int | None) -> native.EngineSpec:  # noqa: A002
        """The engine as :meth:`esprit._native.DataPlane.engine_add` takes it."""
        found: native.EngineSpec = {
            "id": id,
            "name": self.name,
            "kind": self.kind,
            "member": member,
        }
        if self.kind == "cpu":
            found["threads"] = self.threads
            return found
        found["algorithms"] = list(self.algorithms)
        found["lookaside"] = self.lookaside
        found["inline"] = self.inline
        found["primary"] = self.primary
        found["secondary"] = self.secondary
        found["esn"] = self.esn
        for name in _LEFT_OPEN:
            value: int | None = getattr(self, name)
            if value is not None:
                found[name] = value
        if self.transfer_ns is not None or self.transfer_bps is not None:
            found["transfer"] = {
                "ns_per_job": self.transfer_ns or 0,
                "ns_per_byte": 8e9 / self.transfer_bps if self.transfer_bps else 0.0,
            }
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberSpec:
    """An interface of the team.

    Attributes:
        priority: Who is preferred as active member; the higher, the better. Equal ones are
            preferred in the order of the file.
        carry: False makes it an encryption-only member: its engine works, its wire does not.
        weight: Its share of the flows in ``balance-alb``, against the others' weights.
        foreign_mac: Whether its wire takes a source address that is not its own, for direct
            delivery; None: found by probe frames that another member has to hear.
        engine: Its own encryption processor.
    """

    interface: str
    priority: int = 0
    carry: bool = True
    weight: int = 1
    foreign_mac: bool | None = None
    engine: EngineSpec | None = None

    def to_native(self, *, id: int, team: int) -> native.MemberSpec:  # noqa: A002
        """The member as :meth:`esprit._native.DataPlane.member_add` takes it."""
        return {"id": id, "team": team, "interface": self.interface}


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSpec:
    """A route over the virtual NIC. ``via`` None: the destination is on the link."""

    to: IPv4Network | IPv6Network
    via: IPv4Address | IPv6Address | None = None
    src: IPv4Address | IPv6Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSpec:
    """How the team finds a member that is up and hears nothing.

    The defaults do not flap under load: a frame that waits behind a full socket buffer is late by
    some 10 ms, and three of five have to be missing for a whole 100 ms each.

    Attributes:
        every_ns: Nanoseconds between two probes; 0: members are not probed.
        miss: A member is deaf that missed so many ...
        of: ... of the last so many.
        hold_ns: It hears again once it heard for so long without a miss.
        targets: Neighbours that are asked besides the other members.
    """

    every_ns: int = 100_000_000
    miss: int = 3
    of: int = 5
    hold_ns: int = 1_000_000_000
    targets: tuple[IPv4Address | IPv6Address, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamSpec:
    """The team itself.

    Attributes:
        name: The virtual NIC.
        failback: Whether a better member that returns takes the traffic back.
        failback_delay_ns: For how long it must have been fit to carry before it does.
        preferred: The member that is preferred whatever the priorities say.
        up_delay_ns: How long a member stays back whose link returned, while others carry.
        down_delay_ns: For how long a link is down before it counts as fallen.
        headroom: By which share of its time more the active member's own traffic may wait for
            secondary work on its engine.
        receive: Who receives unicast in ``balance-alb``.
        verify_every: Of so many sealed jobs one is opened again before it leaves; 0: none.
        probe: How members are probed.
        allow: Which interfaces may be members; any if there is no rule.
        deny: Which may not, whatever is allowed.
        software: Where engines stand that cost host processor time.
        delivery: How sealed packets reach the wire.
        source_mac: What a carrying member sends as source of unicast IP; None: the mode's own.
        mac: The team's own address; None: that of the first member.
        mtu: The virtual NIC's MTU; None: the smallest member's less the largest SA overhead.
        addresses: Assigned to the virtual NIC.
        routes: Set over the virtual NIC.
    """

    name: str
    mode: ModeName = "active-backup"
    failback: Failback = "never"
    failback_delay_ns: int = 0
    preferred: str | None = None
    up_delay_ns: int = 0
    down_delay_ns: int = 0
    headroom: float = 0.1
    receive: Receive = "single"
    verify_every: int = 1000
    probe: ProbeSpec = ProbeSpec()
    allow: tuple[Mapping[str, str], ...] = ()
    deny: tuple[Mapping[str, str], ...] = ()
    software: Software = "overflow"
    delivery: Delivery = "return"
    source_mac: SourceMac | None = None
    mac: str | None = None
    mtu: int | None = None
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()
    routes: tuple[RouteSpec, ...] = ()

    def to_native(self, *, id: int, mac: str, mtu: int, adopt: bool) -> native.TeamSpec:  # noqa: A002
        """The team as :meth:`esprit._native.DataPlane.team_add` takes it."""
        return {"id": id, "name": self.name, "mac": mac, "mtu": mtu, "adopt": adopt}


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamConfig:
    """All that one file says: a team, its members, engines, SAs and policies.

    Attributes:
        source: The file, for messages.
        engines: Engines that belong to no member. Those of members are with their members.
        policies: In the order in which they match.
    """

    source: str
    team: TeamSpec
    members: tuple[MemberSpec, ...]
    engines: tuple[EngineSpec, ...] = ()
    sas: tuple[SecurityAssociation, ...] = ()
    policies: tuple[Policy, ...] = ()

    def all_engines(self) -> tuple[tuple[EngineSpec, str | None], ...]:
        """Each engine with the interface of its member, the members' first."""
        own = ((m.engine, m.interface) for m in self.members if m.engine is not None)
        return (*own, *((engine, None) for engine in self.engines))

"""What is simulated, as frozen values. Times are nanoseconds, rates bits per second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from esprit.model.spec import EngineSpec

PatternName = Literal["constant", "poisson", "on-off", "pcap"]
Direction = Literal["out", "in"]

#: Bytes of IP packets and how many of each: the "simple IMIX" of 64, 594 and 1518 bytes on the
#: wire (Ethernet header and FCS included), 7 : 4 : 1.
IMIX = ((46, 7), (576, 4), (1500, 1))

#: The shortest probe: IPv4, UDP, and 16 bytes that say which it is.
MIN_PACKET = 44

#: Bytes and messages of an application's task at most (MAX_MESSAGE and MAX_OPS of the data plane).
MAX_TASK = 65_536
MAX_MESSAGES = 64

#: ESP, UDP and outer IPv4 around a packet: what a member's MTU holds more than a packet.
OVERHEAD = 20 + 8 + 16 + 5 + 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An interface of a team.

    Attributes:
        rate_bps: Of its wire.
        ring: Frames that its device takes ahead.
        up: Its link when the run begins.
        foreign: Its wire takes source addresses that are not its own.
        joins: It is no member from the start; a fault of kind ``add`` or ``replace`` makes it one.
    """

    interface: str
    rate_bps: int = 100_000_000_000
    mtu: int = 1600
    ring: int = 256
    up: bool = True
    joins: bool = False
    priority: int = 0
    carry: bool = True
    weight: int = 1
    foreign: bool = True
    engine: EngineSpec | None = None

    @property
    def speed(self) -> int:
        """In Mbit/s, as a link says it."""
        return self.rate_bps // 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sas:
    """The SAs of a team.

    Attributes:
        policies: Selectors that protect; flows are dealt out to them.
        bundle: One outbound SA for each member; otherwise one for the policy.
        cipher: Bits of the key.
        weights: Of the policies' SAs, in turn: their shares of a full engine.
    """

    policies: int = 1
    bundle: bool = False
    cipher: Literal[128, 256] = 128
    mode: Literal["tunnel", "transport"] = "tunnel"
    esn: bool = True
    udp: bool = False
    replay_window: int = 2048
    weights: tuple[int, ...] = (1,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """A team.

    Attributes:
        settings: Fields of :class:`esprit.model.TeamState`, as a mode reads them.
        verify_every: Of so many sealed jobs one is opened again; None: as the mode says.
    """

    name: str
    members: tuple[Member, ...]
    settings: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    sas: Sas = Sas()
    verify_every: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """A source of packets.

    Attributes:
        rate_bps: Of IP packets; with ``load`` instead, so many times what all engines do.
        sizes: Bytes of IP packets, and how many of each.
        plain: No policy protects it.
        via: Inbound, to these members' own addresses in turn; empty: to the team's.
        asks: Inbound, each peer asks for our address, and sends to the one that it was told.
    """

    name: str
    team: str
    direction: Direction = "out"
    pattern: PatternName = "constant"
    rate_bps: int = 0
    load: float | None = None
    on_ns: int = 0
    off_ns: int = 0
    sizes: tuple[tuple[int, int], ...] = ((1400, 1),)
    packets: tuple[tuple[int, int], ...] = ()
    flows: int = 16
    plain: bool = False
    via: tuple[str, ...] = ()
    asks: bool = False
    start_ns: int = 0
    stop_ns: int | None = None
    burst: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """A program of the host that has the pool seal or open, and gets the result back.

    Attributes:
        rate_bps: Of messages; None: as much as its window lets through.
        size: Bytes of a message.
        packets: Messages of one task; None: as many as it holds.
        window: Tasks in flight at most.
        cipher: Bits of its key.
    """

    name: str
    direction: Literal["seal", "open"] = "seal"
    rate_bps: int | None = None
    size: int = 1400
    packets: int | None = None
    window: int = 64
    cipher: Literal[128, 256] = 128
    start_ns: int = 0
    stop_ns: int | None = None

    @property
    def messages(self) -> int:
        """Of one task."""
        fit = max(min(MAX_TASK // self.size, MAX_MESSAGES), 1)
        return fit if self.packets is None else min(self.packets, fit)


FaultKind = Literal[
    "link-down",
    "link-up",
    "vanish",
    "deaf",
    "hear",
    "die",
    "hang",
    "wrong",
    "late",
    "heal",
    "sag",
    "stick",
    "coalesce",
    "reset",
    "verify",
    "add",
    "remove",
    "replace",
    "mode",
    "software",
    "set",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that happens at ``at``: to a member, an engine or a team.

    Attributes:
        by: Who takes the place of a member that is replaced.
        value: How much of it; see the documents.
        word: The mode, or where engines of the processor stand.
        settings: What is set of a team: fields of :class:`esprit.model.event.SettingsChanged`.
    """

    at: int
    kind: FaultKind
    member: str | None = None
    engine: str | None = None
    team: str | None = None
    by: str | None = None
    value: int = 0
    word: str = ""
    settings: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A run.

    Attributes:
        source: The file, for messages.
        duration: Traffic ends here; the run goes on until everything has come to rest.
        warmup: Rates and latencies are measured from here on.
        control_ns: From an event of the data plane to the decision about it.
        turn_ns: What a step of the worker takes at least.
        readmit_ns: An engine that was left is reset, tested and admitted again after so long.
        measure_ns: Load is measured this often where a Plan follows from it.
        engines: Engines that belong to no member.
        joining: Those among them that join later, by a fault of kind ``add``.
        announce: Members that take over announce the team's address.
        expect: What must hold at the end, such as ``"throughput_share >= 0.98"``.
        job_rows: Rows of jobs kept at most.
    """

    name: str
    teams: tuple[Team, ...]
    about: str = ""
    source: str = "scenario"
    seed: int = 1
    duration: int = 20_000_000
    warmup: int = 0
    control_ns: int = 1_000_000
    turn_ns: int = 2_000
    readmit_ns: int | None = None
    measure_ns: int = 1_000_000_000
    announce: bool = False
    engines: tuple[EngineSpec, ...] = ()
    joining: frozenset[str] = frozenset()
    traffic: tuple[Traffic, ...] = ()
    applications: tuple[Application, ...] = ()
    faults: tuple[Fault, ...] = ()
    expect: tuple[str, ...] = ()
    job_rows: int = 200_000
    buffers: tuple[int, int] = (8192, 768)

    def engine_names(self) -> tuple[str, ...]:
        """All engines, members' first."""
        own = [m.engine.name for t in self.teams for m in t.members if m.engine is not None]
        return (*own, *(engine.name for engine in self.engines))

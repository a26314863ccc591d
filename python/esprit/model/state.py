"""What is known of a running team: the state from which a mode computes its Plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

from esprit.model.plan import Ask, Plan
from esprit.model.spec import ProbeSpec, TeamSpec
from esprit.model.words import (
    Delivery,
    EngineKind,
    Failback,
    Health,
    Link,
    ModeName,
    Receive,
    Role,
    Software,
    SourceMac,
)

#: For teams that are made without a file, as in tests.
NOT_PROBED: Final = ProbeSpec(every_ns=0)

#: What an operator sets of a team and a mode reads: fields of the file's team and of the state.
SETTINGS: Final = (
    "mode",
    "software",
    "failback",
    "failback_delay_ns",
    "preferred",
    "up_delay_ns",
    "down_delay_ns",
    "headroom",
    "receive",
    "verify_every",
    "probe",
    "delivery",
    "source_mac",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberState:
    """A member as it is. Its order among the team's members is that of the configuration.

    Attributes:
        link: Its wire, which says nothing about its engine.
        carry: False: an operator declared it encryption-only.
        heard: The other members' probes, or a neighbour's answers, are heard by it.
        deaf: It does not hear, and others do, so that the fault is its own.
        foreign: Whether it can send a source address that is not its own; None: not tried yet.
        foreign_mac: What an operator said of that; None: nothing.
        speed: Of its link, in Mbit/s; None where the link does not say.
        since: When it last became able to carry.
        fell: When it last ceased to be.
        held_until: Until then it stays back while others can carry.
        hold_ns: How long it was held the last time.
    """

    id: int
    interface: str
    link: Link = "down"
    carry: bool = True
    priority: int = 0
    weight: int = 1
    heard: bool = True
    deaf: bool = False
    foreign: bool | None = None
    foreign_mac: bool | None = None
    speed: int | None = None
    since: int = 0
    fell: int = 0
    held_until: int = 0
    hold_ns: int = 0

    @property
    def can_carry(self) -> bool:
        """Whether it may carry traffic now."""
        return self.carry and self.link == "up" and not self.deaf

    @property
    def sends_foreign(self) -> bool | None:
        """Whether it may send another's source address, as an operator or a probe said."""
        return self.foreign if self.foreign_mac is None else self.foreign_mac


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A measured rate of an engine: both coefficients of its cost."""

    algorithm: str
    direction: str
    ns_per_packet: float
    ns_per_byte: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """What a test of one algorithm and direction found; ``evidence`` says why it failed."""

    __test__: ClassVar[bool] = False  # pytest collects no noun

    algorithm: str
    direction: str
    passed: bool
    evidence: str = ""

    @classmethod
    def from_native(cls, found: Mapping[str, object]) -> Test:
        """Read what the data plane says of a test."""
        return cls(
            algorithm=str(found.get("algorithm", "")),
            direction=str(found.get("direction", "")),
            passed=bool(found.get("passed")),
            evidence=str(found.get("evidence", "")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an engine declares of itself. Nothing is assumed."""

    algorithms: tuple[str, ...] = ()
    lookaside: bool = True
    inline: bool = False
    primary: bool = True
    secondary: bool = True
    esn: bool = True
    max_replay_window: int = 0
    simulated: bool = False

    @classmethod
    def from_native(cls, found: Mapping[str, object]) -> Capabilities:
        """Read what the data plane says of an engine; keys that are not known are passed over."""
        algorithms = found.get("algorithms", ())
        window = found.get("max_replay_window", 0)
        return cls(
            algorithms=tuple(str(name) for name in algorithms)
            if isinstance(algorithms, (list, tuple))
            else (),
            lookaside=bool(found.get("lookaside", False)),
            inline=bool(found.get("inline", False)),
            primary=bool(found.get("primary", False)),
            secondary=bool(found.get("secondary", False)),
            esn=bool(found.get("esn", False)),
            max_replay_window=window if isinstance(window, int) else 0,
            simulated=bool(found.get("simulated", False)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """An engine of the pool as it is. The pool is the host's: ``member`` may be another team's.

    Attributes:
        health: An engine that is not verified, or no longer, is in no Plan.
        seal: Its test passed for sealing.
        open: Its test passed for opening.
    """

    id: int
    name: str
    kind: EngineKind
    member: int | None = None
    health: Health = "untested"
    capabilities: Capabilities = Capabilities()
    rates: tuple[Rate, ...] = ()
    tests: tuple[Test, ...] = ()
    latency_ns: int = 0
    seal: bool = True
    open: bool = True
    #: Directions and algorithms of :attr:`rates`: every Plan asks for them, of every engine.
    abilities: frozenset[tuple[str, str]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Gather what it can do, once for all Plans."""
        abilities = frozenset((rate.direction, rate.algorithm) for rate in self.rates)
        object.__setattr__(self, "abilities", abilities)

    def does(self, algorithm: str, direction: str) -> bool:
        """Whether a test proved that it does this: only what passed has a rate."""
        return self.verified and (direction, algorithm) in self.abilities

    @property
    def verified(self) -> bool:
        """Whether it may work: its test passed, and it was not found hung or failed since."""
        return self.health in ("ok", "suspect")

    @property
    def costs_host_cpu(self) -> bool:
        """Whether the team's ``software`` setting places it."""
        return self.kind == "cpu"

    @property
    def does_primary(self) -> bool:
        """Whether it is fit to work for its own member."""
        return self.verified and self.member is not None and self.capabilities.primary

    @property
    def does_secondary(self) -> bool:
        """Whether it is fit to work for others: an inline engine sees only its own traffic."""
        return self.verified and self.capabilities.secondary and self.capabilities.lookaside


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What was measured of a team that balances, and how its flows were dealt.

    Attributes:
        shares: Bytes by share of the flow hash, the last second counting half, and so on back.
        queued: Members that had frames waiting.
        fresh: It was measured since the last Plan.
        dealt: Members with the weights by which shares were dealt to them.
        moved: When shares were last moved for balance's sake.
    """

    shares: tuple[int, ...] = ()
    queued: frozenset[int] = frozenset()
    fresh: bool = False
    dealt: tuple[tuple[int, int], ...] = ()
    moved: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamState:
    """A team as it is, with the last Plan, from which the next one departs as little as it can.

    Attributes:
        members: In the order of the configuration.
        engines: All engines of the host's pool that may work for this team.
        now: The time of the last event.
        asks: Requests by which members find out that a neighbour answers.
        load: What ``balance-alb`` knows of its flows.
        link_epoch: The last link epoch that was heard of.
        active: Who carries (``active-backup``) or receives (``balance-alb``).
        announcements: Frames that tell switches and neighbours where the team is now.
        plan: The last Plan.
    """

    id: int
    name: str = ""
    mode: ModeName = "active-backup"
    software: Software = "overflow"
    failback: Failback = "never"
    failback_delay_ns: int = 0
    preferred: str | None = None
    up_delay_ns: int = 0
    down_delay_ns: int = 0
    headroom: float = 0.1
    receive: Receive = "single"
    verify_every: int = 0
    probe: ProbeSpec = NOT_PROBED
    delivery: Delivery = "return"
    source_mac: SourceMac | None = None
    now: int = 0
    asks: tuple[Ask, ...] = ()
    load: Load = Load()
    members: tuple[MemberState, ...] = ()
    engines: tuple[EngineState, ...] = ()
    link_epoch: int = 0
    active: int | None = None
    announcements: tuple[bytes, ...] = ()
    plan: Plan | None = None

    @classmethod
    def begin(cls, id: int, spec: TeamSpec) -> TeamState:  # noqa: A002
        """A team as its file describes it, without members yet."""
        shared = {name: getattr(spec, name) for name in SETTINGS}
        return cls(id=id, name=spec.name, **shared)

    def ready(self, member: MemberState) -> bool:
        """Whether a member may carry, and need not stay back for a while."""
        return member.can_carry and self.now >= member.held_until

    def member(self, id: int) -> MemberState | None:  # noqa: A002
        """The member of that number."""
        return next((member for member in self.members if member.id == id), None)

    def engine(self, id: int) -> EngineState | None:  # noqa: A002
        """The engine of that number."""
        return next((engine for engine in self.engines if engine.id == id), None)

    def engine_of(self, member: int) -> EngineState | None:
        """The member's own engine."""
        return next((engine for engine in self.engines if engine.member == member), None)

    def with_member(self, member: MemberState) -> TeamState:
        """With this member in the place of the one of its number, or behind the others."""
        if self.member(member.id) is None:
            return replace(self, members=(*self.members, member))
        members = tuple(member if old.id == member.id else old for old in self.members)
        return replace(self, members=members)

    def with_engine(self, engine: EngineState) -> TeamState:
        """With this engine in the place of the one of its number, or behind the others."""
        if self.engine(engine.id) is None:
            return replace(self, engines=(*self.engines, engine))
        engines = tuple(engine if old.id == engine.id else old for old in self.engines)
        return replace(self, engines=engines)

    def role(self, id: int) -> Role:  # noqa: A002
        """What the member does by the last Plan."""
        member = self.member(id)
        if member is None or member.link != "up":
            return "down"
        if not member.carry:
            return "encryption-only"
        if member.deaf:
            return "deaf"
        carries = self.plan is not None and id in self.plan.carriers
        return "active" if carries else "waiting"

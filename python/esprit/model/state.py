"""What is known of a running team: the state from which a mode computes its Plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from esprit.model.plan import Plan
from esprit.model.words import (
    Delivery,
    EngineKind,
    Failback,
    Health,
    Link,
    ModeName,
    Role,
    Software,
    SourceMac,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberState:
    """A member as it is. Its order among the team's members is that of the configuration.

    Attributes:
        link: Its wire, which says nothing about its engine.
        carry: False: an operator declared it encryption-only.
    """

    id: int
    interface: str
    link: Link = "down"
    carry: bool = True
    priority: int = 0
    weight: int = 1

    @property
    def can_carry(self) -> bool:
        """Whether it may carry traffic now."""
        return self.carry and self.link == "up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A measured rate of an engine: both coefficients of its cost."""

    algorithm: str
    direction: str
    ns_per_packet: float
    ns_per_byte: float


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
    latency_ns: int = 0
    seal: bool = True
    open: bool = True

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
class TeamState:
    """A team as it is, with the last Plan, from which the next one departs as little as it can.

    Attributes:
        members: In the order of the configuration.
        engines: All engines of the host's pool that may work for this team.
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
    delivery: Delivery = "return"
    source_mac: SourceMac | None = None
    members: tuple[MemberState, ...] = ()
    engines: tuple[EngineState, ...] = ()
    link_epoch: int = 0
    active: int | None = None
    announcements: tuple[bytes, ...] = ()
    plan: Plan | None = None

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
        carries = self.plan is not None and id in self.plan.carriers
        return "active" if carries else "waiting"

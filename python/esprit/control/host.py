"""What all teams of one process share: the data plane, netlink, the state file, the pool."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from esprit.control.dataplane import DataPlane
from esprit.control.highwater import Mark, acquire
from esprit.control.netlink import Netlink
from esprit.control.state import Journal
from esprit.errors import Conflict, EngineRefused, KeyInUse, NotFound, SpiInUse
from esprit.model import (
    Capabilities,
    EngineSpec,
    EngineState,
    Key,
    Plan,
    Rate,
    SecurityAssociation,
    Test,
)
from esprit.model.event import EngineJoined, EngineLeft, Event
from esprit.modes.applications import Applications, applications
from esprit.verify import Evidence

if TYPE_CHECKING:
    from esprit._native import EngineVerified


@dataclass(slots=True)
class Keys:
    """Every key and SPI in use by this process: none serves twice (rule 2)."""

    directory: Path
    _by_key: dict[Key, str] = field(default_factory=dict)
    _by_spi: dict[tuple[str, str, int], str] = field(default_factory=dict)

    def claim(self, sa: SecurityAssociation) -> Mark:
        """Take an SA's key and SPI, and lock its high-water mark.

        Raises:
            KeyInUse: the same key and salt serve another SA, or the other direction.
            SpiInUse: another SA has this SPI and destination.
            StateUnusable: the mark cannot be kept.
        """
        other = self._by_key.get(sa.key)
        if other is not None:
            raise KeyInUse(f"SA {sa.name}", f"its key and salt are in use by SA {other}")
        spi = _spi(sa)
        other = self._by_spi.get(spi)
        if other is not None:
            raise SpiInUse(
                f"SA {sa.name}",
                f"its SPI {sa.spi:#010x} towards {sa.dst} is in use by SA {other}",
            )
        mark = acquire(
            sa.key.reveal(), sa.direction, subject=f"SA {sa.name}", directory=self.directory
        )
        self._by_key[sa.key] = sa.name
        self._by_spi[spi] = sa.name
        return mark

    def release(self, sa: SecurityAssociation, mark: Mark) -> None:
        """Give an SA's key and SPI back, unlock its mark, and overwrite the key."""
        self._by_key.pop(sa.key, None)
        self._by_spi.pop(_spi(sa), None)
        mark.release()
        sa.key.wipe()


def _spi(sa: SecurityAssociation) -> tuple[str, str, int]:
    # Outbound the receiver chose it, inbound we did; so both are unique by destination.
    return (sa.direction, str(sa.dst), sa.spi)


@dataclass(slots=True)
class RunningEngine:
    """An engine that passed its tests and is in the pool."""

    id: int
    spec: EngineSpec
    team: str
    member: int | None
    verified: "EngineVerified"

    @property
    def latency_ns(self) -> int:
        """The longest way through it that was measured."""
        return int(max((rate["latency_ns"] for rate in self.verified["rates"]), default=0.0))

    def state(self) -> EngineState:
        """What modes know of it, as of its last test."""
        return EngineState(
            id=self.id,
            name=self.spec.name,
            kind=self.spec.kind,
            member=self.member,
            health="ok",
            capabilities=Capabilities.from_native(dict(self.verified["capabilities"])),
            rates=tuple(
                Rate(
                    algorithm=rate["algorithm"],
                    direction=rate["direction"],
                    ns_per_packet=rate["ns_per_packet"],
                    ns_per_byte=rate["ns_per_byte"],
                )
                for rate in self.verified["rates"]
            ),
            tests=tuple(Test.from_native(one) for one in self.verified["tests"]),
            latency_ns=self.latency_ns,
            seal=self._proved("seal"),
            open=self._proved("open"),
        )

    def _proved(self, direction: str) -> bool:
        """Whether a test of any algorithm in this direction passed."""
        return any(rate["direction"] == direction for rate in self.verified["rates"])


@dataclass(slots=True)
class Host:
    """The process-wide parts of the control plane."""

    plane: DataPlane
    netlink: Netlink
    journal: Journal
    keys: Keys
    # Interfaces that belong to a team of this process, members and virtual NICs, with the team.
    taken: dict[str, str] = field(default_factory=dict)
    # Told when an engine joins or leaves the pool: every team's Plan may name it.
    watchers: list[Callable[[Event], None]] = field(default_factory=list)
    #: What is known against engines.
    evidence: Evidence = field(default_factory=Evidence)
    _engines: dict[str, RunningEngine] = field(default_factory=dict)
    _plans: dict[int, Plan] = field(default_factory=dict)
    _applications: Applications = field(default_factory=Applications)
    _ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def new_id(self) -> int:
        """A number for a team, member, engine, SA or policy that was never given out before."""
        return next(self._ids)

    def give_back(self, interface: str) -> None:
        """An interface belongs to no team any more."""
        self.taken.pop(interface, None)

    # the pool

    def engines(self) -> Iterator[RunningEngine]:
        """Every engine of the pool: it belongs to the host, not to a team."""
        return iter(tuple(self._engines.values()))

    def engine(self, name: str) -> RunningEngine:
        """The engine of that name.

        Raises:
            NotFound: there is none.
        """
        try:
            return self._engines[name]
        except KeyError:
            raise NotFound(f"engine {name}") from None

    def engine_of(self, member: int) -> RunningEngine | None:
        """A member's own engine, if it has one."""
        return next((one for one in self._engines.values() if one.member == member), None)

    async def add_engine(self, spec: EngineSpec, *, team: str, member: int | None) -> RunningEngine:
        """Make an engine, test it, and admit it to the pool: wholly, or not at all.

        Raises:
            Conflict: there is one of that name.
            EngineRefused: a test failed.
        """
        if spec.name in self._engines:
            raise Conflict(f"engine {spec.name}", "is there already", remedy="give it another name")
        number = self.new_id()
        # The tests and the calibration take a moment, which the event loop spends elsewhere.
        verified = await asyncio.to_thread(
            self.plane.engine_add, spec.to_native(id=number, member=member)
        )
        engine = RunningEngine(number, spec, team, member, verified)
        self._engines[spec.name] = engine
        try:
            self._tell(EngineJoined(engine=engine.state()))
        except BaseException:
            # Some team's Plan may name it already.
            self.remove_engine(spec.name)
            raise
        return engine

    async def reset_engine(self, name: str) -> RunningEngine:
        """Reset an engine, test it again, and admit it again.

        Raises:
            NotFound: there is none of that name.
            EngineRefused: a test failed; the engine stays out of every Plan.
        """
        return await self._tested(name, self.plane.engine_reset)

    async def verify_engine(self, name: str) -> RunningEngine:
        """Test an engine as it is, and admit it again.

        Raises:
            NotFound: there is none of that name.
            EngineRefused: nothing passed; the engine stays out of every Plan.
        """
        return await self._tested(name, self.plane.engine_verify)

    async def _tested(self, name: str, test: "Callable[[int], EngineVerified]") -> RunningEngine:
        engine = self.engine(name)
        self._tell(EngineLeft(engine=engine.id))
        try:
            engine.verified = await asyncio.to_thread(test, engine.id)
        except EngineRefused as error:
            self.evidence.note(name, "refused", time.monotonic_ns(), {"by": error.message})
            self._tell(EngineJoined(engine=replace(engine.state(), health="failed")))
            raise
        self.evidence.clear(name)
        self._tell(EngineJoined(engine=engine.state()))
        return engine

    def remove_engine(self, name: str) -> None:
        """Take an engine out of every Plan, and then out of the pool."""
        engine = self.engine(name)
        self._tell(EngineLeft(engine=engine.id))
        self.plane.engine_remove(engine.id)
        del self._engines[name]
        self.evidence.clear(name)

    # applications

    def published(self, plan: Plan) -> None:
        """A team's Plan is in force: what applications may use follows from all of them."""
        self._plans[plan.team] = plan
        self._grant_applications()

    def ended(self, team: int) -> None:
        """A team has no Plan any more."""
        if self._plans.pop(team, None) is not None:
            self._grant_applications()

    def _grant_applications(self) -> None:
        granted = applications(self._plans.values())
        if granted != self._applications:
            self._applications = granted
            self.plane.applications(granted.to_native())

    def _tell(self, event: Event) -> None:
        for watcher in self.watchers:
            watcher(event)

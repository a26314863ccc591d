"""What happens to members, engines and teams during a run, as a control plane would do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from esprit.errors import EngineRefused
from esprit.model.event import (
    EngineJoined,
    EngineLeft,
    Event,
    MemberJoined,
    MemberLeft,
    SettingsChanged,
)
from esprit.model.spec import EngineSpec
from esprit.sim.host import Engine
from esprit.sim.scenario import Fault

if TYPE_CHECKING:
    from esprit.sim.run import Run


class Happenings:
    """Does to a run's host what its scenario says."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._host = run.host

    def happen(self, fault: Fault) -> None:
        """Let it happen; what cannot, as things are, does not."""
        subject = fault.member or fault.engine or fault.team or ""
        words = " ".join(f"{key}={value}" for key, value in fault.settings.items())
        more = fault.by or fault.word or words or fault.value or ""
        self._host.native.note(fault.kind, f"{subject} {more}".strip())
        if fault.member is not None:
            self._to_member(fault, self._host.members[fault.member])
        elif fault.engine is not None:
            self._to_engine(fault, fault.engine)
        else:
            self._to_team(fault)

    # teams

    def _to_team(self, fault: Fault) -> None:
        match fault.kind:
            case "mode" if fault.word in ("active-backup", "balance-alb"):
                event = SettingsChanged(mode=fault.word)  # type: ignore[arg-type]
            case "software" if fault.word in ("always", "overflow", "never"):
                event = SettingsChanged(software=fault.word)  # type: ignore[arg-type]
            case "set":
                event = SettingsChanged(**fault.settings)  # type: ignore[arg-type]
            case _:
                return
        first = self._run.scenario.teams[0].name
        self._run.decide(self._host.teams[fault.team or first], event)

    # members

    def _to_member(self, fault: Fault, member: int) -> None:
        native = self._host.native
        present = self._is_present(member)
        match fault.kind:
            case "add":
                self._add(member)
            case "remove" if present:
                self._remove(member)
            case "replace" if present and fault.by is not None:
                self._replace(member, self._host.members[fault.by])
            case "link-down" if present:
                native.link(member, up=False)
            case "link-up" if present:
                native.link(member, up=True)
            case "vanish" if present:
                native.link(member, up=False, deleted=True)
            case "deaf":
                native.deaf(member, True)
            case "hear":
                native.deaf(member, False)

    def _is_present(self, member: int) -> bool:
        number, _ = self._host.specs[member]
        return self._host.states[number].member(member) is not None

    def _add(self, member: int) -> None:
        """It joins; one that is there joins anew by a new port, if its interface was gone."""
        host = self._host
        number, spec = host.specs[member]
        known = host.states[number].member(member)
        if known is not None and known.link != "gone":
            return
        host.add_member(member, up=True)
        if known is None and spec.engine is not None:
            self._join(spec.engine, member)
        self._run.decide(number, MemberJoined(member=host.member_state(member, up=True)))

    def _remove(self, member: int) -> None:
        host = self._host
        number, _ = host.specs[member]
        self._run.decide(number, MemberLeft(member=member))
        for engine in [engine for engine in host.engines.values() if engine.member == member]:
            self._leave(engine)
        host.native.member_remove(member)

    def _replace(self, old: int, new: int) -> None:
        """The new one joins first and takes over the old one's SAs; then the old one goes."""
        host = self._host
        number, spec = host.specs[old]
        if self._is_present(new) or host.specs[new][0] != number:
            return
        self._add(new)
        host.move_sas(old, new)
        if host.states[number].preferred == spec.interface:
            self._run.decide(number, SettingsChanged(preferred=host.specs[new][1].interface))
        self._remove(old)

    # engines

    def _to_engine(self, fault: Fault, name: str) -> None:
        engine = self._host.engines.get(name)
        if engine is None:
            if fault.kind == "add":
                self._add_engine(name)
            return
        # One that was refused is not in the pool, and cannot fail in it.
        if engine.verified is None and fault.kind not in ("reset", "verify", "remove"):
            return
        match fault.kind:
            case "reset" | "verify":
                self.again(engine, fault.kind)
            case "remove":
                self._leave(engine)
            case "die" | "hang" | "wrong" | "late" | "heal" | "sag" | "stick" | "coalesce":
                self._host.native.engine_fault(engine.id, fault.kind, fault.value)

    def _add_engine(self, name: str) -> None:
        """One that was removed, or has not been there yet; a member's own if that is there."""
        for spec in self._run.scenario.engines:
            if spec.name == name:
                self._join(spec, None)
        for member, (_, of) in self._host.specs.items():
            own = of.engine
            if own is not None and own.name == name and self._is_present(member):
                self._join(own, member)

    def _join(self, spec: EngineSpec, member: int | None) -> None:
        engine = self._host.new_engine(spec, member)
        if self._host.admit(engine):
            self._run.tell(EngineJoined(engine=engine.state()))

    def _leave(self, engine: Engine) -> None:
        if self._host.engines.pop(engine.spec.name, None) is not None:
            self._run.tell(EngineLeft(engine=engine.id))
            self._host.native.engine_remove(engine.id)

    def again(self, engine: Engine, how: str) -> None:
        """Out, tested, and in again."""
        native = self._host.native
        # It may have been removed meanwhile, and another be there under its name.
        if self._host.engines.get(engine.spec.name) is not engine:
            return
        self._run.tell(EngineLeft(engine=engine.id))
        test = native.engine_reset if how == "reset" else native.engine_verify
        event: Event
        try:
            engine.verified = test(engine.id)
        except EngineRefused as error:
            engine.verified = None
            native.note("engine-refused", f"engine={engine.spec.name} {error.message}")
            event = EngineJoined(engine=engine.state("failed"))
        else:
            native.note("engine-admitted", f"engine={engine.spec.name}")
            event = EngineJoined(engine=engine.state())
        self._run.tell(event)

"""A run: time goes on in Rust until something is to be decided, and the shipped modes decide."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from esprit.model.event import EngineReported, Event, SettingsChanged, Ticked, from_native
from esprit.model.state import NOT_PROBED
from esprit.modes import decide
from esprit.modes.applications import Applications, applications
from esprit.modes.base import Decision
from esprit.modes.measured import Measured
from esprit.sim import files
from esprit.sim.happen import Happenings
from esprit.sim.host import Engine, Host, build
from esprit.sim.placement import Placement
from esprit.sim.report import Report, collect
from esprit.sim.scenario import Scenario

#: After the last packet the run goes on for so long at most: what waits for an engine is given up
#: by then (10 s in the pool, and as long again for applications' tasks that found no room behind
#: what was given up), and everything has one fate.
REST_NS: Final = (
    1_000_000, 10_000_000, 100_000_000, 1_000_000_000, 11_000_000_000, 21_000_000_000,
)  # fmt: skip

#: Beyond that members are not probed any more: rounds of 50 us are 420,000 in the longest rest, and
#: what is still waited for is no member.
PROBED_NS: Final = 10_000_000

#: Queues and buffers are looked at this often, besides at every decision.
AUDIT_NS: Final = 1_000_000


def run(
    scenario: Scenario | str | Path,
    placement: Placement | None = None,
    seed: int | None = None,
) -> Report:
    """Simulate a scenario: a value, a file, or the name of one that is shipped.

    Args:
        scenario: What to run.
        placement: Picks the engine of each job instead of the pool; see :mod:`esprit.sim.rivals`.
        seed: Stands for the scenario's own. The same seed gives the same bytes.

    Raises:
        ConfigError: the file cannot be used.
    """
    if not isinstance(scenario, Scenario):
        scenario = files.load(scenario)
    if seed is not None:
        scenario = replace(scenario, seed=seed)
    return Run(scenario, placement).through()


class Run:
    """A scenario on its way.

    Args:
        scenario: What to run.
        placement: Picks engines.
        sabotage: Breaks a rule on purpose; for tests.
    """

    def __init__(
        self,
        scenario: Scenario,
        placement: Placement | None = None,
        sabotage: dict[str, int] | None = None,
    ) -> None:
        self.scenario = scenario
        self.host: Host = build(scenario, placement=placement)
        if sabotage is not None:
            self.host.native.sabotage(sabotage)
        self.plans = 0
        #: Real seconds of each decision that was published; no part of a report.
        self.plan_seconds: list[float] = []
        self.counts: dict[str, int] = {}
        # Steps of the scenario and of the control plane, by their time; in order of their coming.
        self._steps: list[tuple[int, int, Callable[[], None]]] = []
        self._step = 0
        self._deadlines: dict[int, int] = {}
        self.granted = Applications()
        self._measured = {number: Measured() for number in self.host.states}
        if scenario.measure_ns < scenario.duration:
            self._at(scenario.measure_ns, self._measure)
        self._happenings = Happenings(self)
        for fault in scenario.faults:
            self._at(fault.at, lambda fault=fault: self._happenings.happen(fault))  # type: ignore[misc]

    @property
    def broken(self) -> bool:
        """Whether a rule was broken."""
        return self.host.native.violation() is not None

    def through(self) -> Report:
        """From the first Plan to rest."""
        scenario, native = self.scenario, self.host.native
        for number in self.host.states:
            self._put_in_force(number, decide(self.host.states[number]))
        self._until(scenario.warmup)
        native.mark()
        self._until(scenario.duration)
        measured = native.report()
        engines = native.snapshot()["engines"]
        for rest in REST_NS:
            if self.broken or self._at_rest():
                break
            if rest > PROBED_NS:
                self._end_probing()
            self._until(scenario.duration + rest)
        if not self.broken:
            native.audit_at_rest(self._holds())
        return collect(self, measured, engines)

    def _end_probing(self) -> None:
        for number, state in self.host.states.items():
            if state.probe.every_ns:
                self.decide(number, SettingsChanged(probe=NOT_PROBED))

    def _at_rest(self) -> bool:
        seen = self.host.native.snapshot()
        return not (
            self._steps
            or not self.host.native.is_idle()
            or any(sa["in_flight"] for sa in seen["sas"].values())
            or any(member["queued"] for member in seen["members"].values())
            or seen["buffers"]["small"]
            or seen["buffers"]["large"]
        )

    def _holds(self) -> bool:
        """Whether an engine holds jobs that it never gives back."""
        engines = self.host.native.snapshot()["engines"].values()
        return any(engine["outstanding"] for engine in engines)

    # time

    def _at(self, at: int, step: Callable[[], None]) -> None:
        self._step += 1
        heapq.heappush(self._steps, (at, self._step, step))

    def _until(self, end: int) -> None:
        native = self.host.native
        while not self.broken and native.now() < end:
            audit = (native.now() // AUDIT_NS + 1) * AUDIT_NS
            stop = min(end, audit if end <= self.scenario.duration else end)
            if self._steps:
                stop = min(stop, max(self._steps[0][0], native.now()))
            for found in native.advance(stop):
                self._hear(from_native(found))
            while self._steps and self._steps[0][0] <= native.now():
                heapq.heappop(self._steps)[2]()
            native.audit()

    # deciding

    def _hear(self, event: Event) -> None:
        self.counts[event.kind] = self.counts.get(event.kind, 0) + 1
        self.tell(event)
        if isinstance(event, EngineReported) and event.what == "redone":
            # An engine's own counter goes with it when it is reset.
            jobs = dict(event.details).get("jobs", 0)
            self.counts["redone"] = self.counts.get("redone", 0) + int(jobs or 0)
        if isinstance(event, EngineReported) and event.what in ("hung", "quarantined"):
            self.counts[event.what] = self.counts.get(event.what, 0) + 1
            delay = self.scenario.readmit_ns
            engine = self._engine_of(event.engine)
            if delay is not None and engine is not None:
                self._at(
                    self.host.native.now() + delay, lambda: self._happenings.again(engine, "reset")
                )

    def _engine_of(self, number: int | None) -> Engine | None:
        return next((e for e in self.host.engines.values() if e.id == number), None)

    def tell(self, event: Event) -> None:
        """Let every team's mode answer an event."""
        for number in self.host.states:
            self.decide(number, event)

    def _put_in_force(self, number: int, decision: Decision) -> None:
        state, plan = decision.state, decision.plan
        if decision.deadline is not None:
            self._wake(number, decision.deadline)
        before = self.host.states[number].plan
        if not decision.to_publish and before is not None:
            self.host.states[number] = replace(state, plan=before)
            return
        # One epoch for all teams' Plans, as the data plane counts them per team.
        self.host.native.publish(plan.to_native())
        self.host.states[number] = replace(state, plan=plan)
        self.plans += 1
        self._grant_applications()
        for notice in decision.notices:
            name = f"{notice.what}-changed"
            self.counts[name] = self.counts.get(name, 0) + 1
            details = f"team={state.name} before={notice.before} after={notice.after}"
            self.host.native.note(notice.what, details)

    def _grant_applications(self) -> None:
        """What applications may use follows from all teams' Plans, as in the daemon."""
        plans = [state.plan for state in self.host.states.values() if state.plan is not None]
        granted = applications(plans)
        if self.scenario.applications and granted != self.granted:
            self.granted = granted
            self.host.native.applications(granted.to_native())

    def _measure(self) -> None:
        """Tell the teams that balance what their members and shares had to do."""
        now = self.host.native.now()
        if now + self.scenario.measure_ns < self.scenario.duration:
            self._at(now + self.scenario.measure_ns, self._measure)
        seen = self.host.native.loads()
        for number, state in self.host.states.items():
            if state.mode != "balance-alb":
                continue
            speeds = {m.id: self.host.specs[m.id][1].speed for m in state.members}
            event = self._measured[number].look(seen, state, speeds)
            before = state.plan
            self.decide(number, event)
            after = self.host.states[number].plan
            if before is not None and after is not None:
                moved = sum(a != b for a, b in zip(before.transmit, after.transmit, strict=False))
                self.counts["shares-moved"] = self.counts.get("shares-moved", 0) + moved

    def _wake(self, number: int, deadline: int) -> None:
        """Ask the mode again when time alone may change something."""
        if self._deadlines.get(number) != deadline:
            self._deadlines[number] = deadline
            self._at(deadline, lambda: self.decide(number, Ticked(time=deadline)))

    def decide(self, number: int, event: Event) -> None:
        """Let a team's mode answer an event, and put what it says in force."""
        stamped = replace(event, time=max(event.time, self.host.native.now()))
        begun, plans = time.perf_counter(), self.plans
        self._put_in_force(number, decide(self.host.states[number], stamped))
        if self.plans > plans:
            self.plan_seconds.append(time.perf_counter() - begun)


__all__ = ["Run", "run"]

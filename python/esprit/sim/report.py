"""What a run came to: figures, rows, and a folder that holds them."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from esprit.sim import expect
from esprit.sim.host import Host, packets_per_second

if TYPE_CHECKING:
    from esprit import _native
    from esprit.sim.run import Run

#: Bytes of RFC 4303's trailer on top of an IP packet, on average over its padding.
TRAILER = 3.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A rule of the design that was broken."""

    seed: int
    time: int
    rule: str
    detail: str

    def __str__(self) -> str:
        return f"seed {self.seed}, {self.time} ns, {self.rule}: {self.detail}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run came to.

    Attributes:
        figures: By name; rates and latencies are of the window between warm-up and the end of
            the traffic, the rest is of the whole run.
        unmet: Expectations that do not hold, with what was found.
        jobs: One row for each stay of a job in an engine.
        events: One row for each event.
    """

    scenario: str
    seed: int
    figures: Mapping[str, float]
    violation: Violation | None
    unmet: tuple[str, ...]
    jobs: tuple[Mapping[str, object], ...]
    events: tuple[Mapping[str, object], ...]
    engines: Mapping[int, str]

    @property
    def ok(self) -> bool:
        """Whether all rules were kept and all expectations met."""
        return self.violation is None and not self.unmet

    def digest(self) -> str:
        """A fingerprint of everything: equal seeds have equal ones."""
        found = hashlib.sha256()
        for line in self._lines():
            found.update(line.encode())
        return found.hexdigest()

    def _lines(self) -> Iterator[str]:
        yield json.dumps(self.summary(), sort_keys=True)
        for row in (*self.jobs, *self.events):
            yield json.dumps(row, sort_keys=True)

    def summary(self) -> dict[str, object]:
        """All but the rows, as plain values."""
        return {
            "scenario": self.scenario,
            "seed": self.seed,
            "figures": dict(self.figures),
            "violation": None if self.violation is None else asdict(self.violation),
            "unmet": list(self.unmet),
        }

    def write(self, folder: Path | str) -> list[str]:
        """Write ``summary.json`` and the rows of jobs and events, as CSV and as JSON lines.

        Returns:
            What could not be written, and why: plots need matplotlib.
        """
        from esprit.sim import plots

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "summary.json").write_text(json.dumps(self.summary(), indent=1) + "\n")
        _rows(folder / "jobs", self.jobs)
        _rows(folder / "events", self.events)
        return plots.draw(self, folder)


def _rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with path.with_suffix(".jsonl").open("w") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)
    with path.with_suffix(".csv").open("w", newline="") as table:
        writer = csv.DictWriter(table, fieldnames=list(rows[0]) if rows else ["time"])
        writer.writeheader()
        writer.writerows(rows)


def collect(
    run: Run, measured: _native.SimulationReport, engines: Mapping[int, _native.EngineSnapshot]
) -> Report:
    """The report of a run that has ended."""
    host, scenario = run.host, run.scenario
    figures = _figures(run, measured, engines)
    found = host.native.violation()
    violation = None
    if found is not None:
        violation = Violation(
            seed=scenario.seed, time=found["time"], rule=found["rule"], detail=found["detail"]
        )
    unmet = []
    for line in scenario.expect:
        if not expect.parse(line).holds(figures):
            name = expect.parse(line).figure
            value = figures.get(name)
            unmet.append(f"{line}, found {'no such figure' if value is None else f'{value:g}'}")
    return Report(
        scenario=scenario.name,
        seed=scenario.seed,
        figures=figures,
        violation=violation,
        unmet=tuple(unmet),
        jobs=tuple(host.native.job_rows()),
        events=tuple(host.native.event_rows()),
        engines={engine.id: engine.spec.name for engine in host.engines.values()},
    )


def _figures(
    run: Run, measured: _native.SimulationReport, engines: Mapping[int, _native.EngineSnapshot]
) -> dict[str, float]:
    host = run.host
    last = host.native.report()
    window = max(measured["window"], 1)
    found: dict[str, float] = {"time_ns": last["time"], "window_ns": window}
    for key in ("sent", "delivered", "refused", "wire_lost"):
        found[key] = sum(_number(one["total"], key) for one in last["traffic"])
    found["drops"] = sum(last["drops"].values())
    found |= {f"drop.{reason}": count for reason, count in sorted(last["drops"].items())}
    bits = 8 * sum(one["delivered_bytes"] for one in measured["traffic"])
    found["throughput_bps"] = bits * 1e9 / window
    found["throughput_share"] = _share(run, measured, window)
    for key in ("p50", "p99", "max"):
        values = [_number(one["latency"], key) for one in measured["traffic"]]
        found[f"{key}_ns"] = max(values, default=0)
    for one in measured["traffic"]:
        name = one["name"]
        found[f"{name}.delivered"] = one["delivered"]
        found[f"{name}.throughput_bps"] = 8e9 * one["delivered_bytes"] / window
        for key in ("p50", "p99", "max"):
            found[f"{name}.{key}_ns"] = _number(one["latency"], key)
    for one in last["traffic"]:
        total = one["total"]
        found[f"{one['name']}.delivered_share"] = total["delivered"] / max(total["sent"], 1)
    found |= _of_applications(run, measured["applications"], last["applications"], window)
    predicted = last["predicted"]
    if predicted["jobs"]:
        found["predicted_ns"] = predicted["expected_ns"] / predicted["jobs"]
        found["measured_ns"] = predicted["measured_ns"] / predicted["jobs"]
        found["prediction_error"] = predicted["error_ns"] / max(predicted["measured_ns"], 1)
    found |= _of_engines(host, engines)
    carried = sum(measured["member_bytes"].values())
    for name, number in host.members.items():
        share = measured["member_bytes"].get(number, 0) / max(carried, 1)
        found[f"member.{name}.share"] = share
    for key in (
        "spoiled",
        "spoiled_messages",
        "overtaken",
        "address_moves",
        "steps",
        "queued_most",
    ):
        found[key] = _number(last, key)
    found["plans"] = run.plans
    for key in ("takeover", "link", "hung", "quarantined", "redone", "probe", "shares-moved"):
        found[key] = run.counts.get(key, 0)
    for number, state in host.states.items():
        plan = host.states[number].plan
        if plan is not None:
            found[f"{state.name}.sharing"] = int(plan.sharing)
            found[f"{state.name}.spreading"] = int(plan.spreading)
    return found


def _number(found: object, key: str) -> float:
    assert isinstance(found, Mapping)  # noqa: S101 - rows of our own extension
    value = found[key]
    assert isinstance(value, int | float)  # noqa: S101 - as above
    return value


def _of_engines(host: Host, engines: Mapping[int, _native.EngineSnapshot]) -> dict[str, float]:
    found: dict[str, float] = {}
    for engine in host.engines.values():
        seen = engines.get(engine.id)
        if seen is None:
            continue
        name = f"engine.{engine.spec.name}"
        for key in ("jobs", "packets", "primary", "secondary", "application", "redone", "wrong"):
            found[f"{name}.{key}"] = _number(seen, key)
    for key in ("primary", "secondary", "application", "redone", "late", "wrong", "jobs"):
        found[f"engines.{key}"] = sum(_number(seen, key) for seen in engines.values())
    return found


def _of_applications(
    run: Run,
    measured: Sequence[_native.ApplicationReport],
    last: Sequence[_native.ApplicationReport],
    window: int,
) -> dict[str, float]:
    found: dict[str, float] = {}
    for one, whole in zip(measured, last, strict=True):
        name = one["name"]
        found[f"{name}.throughput_bps"] = 8e9 * one["bytes"] / window
        for key in ("p50", "p99", "max"):
            found[f"{name}.{key}_ns"] = _number(one["latency"], key)
        for key in ("asked", "done", "no_engine", "lost"):
            found[f"{name}.{key}"] = _number(whole["total"], key)
    if not measured:
        return found
    # Times of the engines that applications may use: each message takes its part of one, and all
    # of these together are the window.
    granted = {grant.engine for grant in run.granted.grants}
    engines = [engine for engine in run.host.engines.values() if engine.id in granted]
    share = 0.0
    for spec, one in zip(run.scenario.applications, measured, strict=True):
        rates = [packets_per_second(e, spec.cipher, spec.direction, spec.size) for e in engines]
        if sum(rates):
            share += one["messages"] * 1e9 / window / sum(rates)
    found["applications.throughput_share"] = share
    return found


def _share(run: Run, measured: _native.SimulationReport, window: int) -> float:
    """Packets that arrived, of what the engines do that the last Plans open."""
    host = run.host
    opened = {
        grant.engine
        for state in host.states.values()
        if state.plan is not None
        for grant in state.plan.grants
        if grant.secondary is not None or grant.primary is not None
    }
    plain = {traffic.name for traffic in run.scenario.traffic if traffic.plain}
    ways = {traffic.direction for traffic in run.scenario.traffic if not traffic.plain}
    rows = [one for one in measured["traffic"] if one["name"] not in plain]
    packets = sum(one["delivered"] for one in rows)
    size = sum(one["delivered_bytes"] for one in rows) / max(packets, 1) + TRAILER
    direction = "open" if ways == {"in"} else "seal"
    bits = run.scenario.teams[0].sas.cipher
    able = sum(
        packets_per_second(engine, bits, direction, size)
        for engine in host.engines.values()
        if engine.id in opened
    )
    return packets * 1e9 / window / able if able else 0.0

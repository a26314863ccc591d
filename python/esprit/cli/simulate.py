"""``esprit simulate``: scenarios in virtual time."""

from __future__ import annotations

from pathlib import Path

from esprit import sim
from esprit.cli import render
from esprit.errors import BadRequest
from esprit.sim import figures, rivals

#: What a run is told by, in this order, if it has it.
SHOWN = (
    "sent", "delivered", "drops", "refused", "wire_lost", "throughput_bps", "throughput_share",
    "p50_ns", "p99_ns", "prediction_error", "plans", "takeover", "hung", "quarantined",
)  # fmt: skip


def simulate(
    scenario: str | None,
    *,
    seed: int | None,
    out: Path | None,
    rival: str | None,
    compare: bool,
    show_figures: bool,
    json: bool,
) -> int:
    """Run, print, and answer what the command ends with: 0 if all rules and expectations held."""
    if show_figures:
        return figures.main([] if scenario is None else [scenario])
    if scenario is None:
        found = [{"name": path.stem, "about": sim.load(path).about} for path in sim.shipped()]
        render.as_json(found) if json else [
            print(f"{one['name']:24} {one['about']}") for one in found
        ]
        return 0
    if rival is not None and rival not in rivals.RIVALS:
        raise BadRequest(
            f"rival {rival}", "is unknown", remedy=f"one of {', '.join(rivals.RIVALS)}"
        )
    names: list[str | None] = [rival]
    if compare:
        names = [None, *rivals.RIVALS]
    read = sim.load(scenario)
    reports = []
    for name in names:
        placement = (
            None if name is None else rivals.RIVALS[name](read.seed if seed is None else seed)
        )
        report = sim.run(read, placement=placement, seed=seed)
        reports.append((name or "esprit", report))
        if out is not None:
            for missing in report.write(out / (name or "esprit") if compare else out):
                print(missing)
    if json:
        render.as_json([{"placement": name, **report.summary()} for name, report in reports])
    else:
        for name, report in reports:
            _print(name, report)
    return 0 if all(report.ok for name, report in reports if name == (names[0] or "esprit")) else 1


def _print(name: str, report: sim.Report) -> None:
    print(f"{report.scenario}, seed {report.seed}, placement {name} (simulated)")
    for key in SHOWN:
        if key in report.figures:
            print(f"  {key:18} {report.figures[key]:.6g}")
    if report.violation is not None:
        print(f"  BROKEN {report.violation}")
        print(f"  again: esprit simulate {report.scenario} --seed {report.seed}")
    for line in report.unmet:
        print(f"  UNMET {line}")
    if report.ok:
        print("  every rule was kept and every expectation met")

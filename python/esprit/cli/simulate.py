"""``esprit simulate``: scenarios in virtual time."""

from __future__ import annotations

import shlex
from pathlib import Path

from esprit import sim
from esprit.cli import render
from esprit.errors import BadRequest
from esprit.sim import chance, figures, rivals

#: What a run is told by, in this order, if it has it.
SHOWN = (
    "sent", "delivered", "drops", "refused", "wire_lost", "throughput_bps", "throughput_share",
    "p50_ns", "p99_ns", "prediction_error", "plans", "takeover", "hung", "quarantined",
)  # fmt: skip


def simulate(
    scenario: str | None,
    *,
    random: int | None,
    seed: int | None,
    out: Path | None,
    rival: str | None,
    compare: bool,
    show_figures: bool,
    json: bool,
) -> int:
    """Run, print, and answer what the command ends with: 0 if all rules and expectations held."""
    if random is not None and (scenario is not None or show_figures):
        raise BadRequest(
            "--random", "goes with neither a scenario nor --figures", remedy="give one of them"
        )
    if show_figures:
        return figures.main([] if scenario is None else [scenario])
    if random is not None:
        read, what = chance.scenario(random), ["--random", str(random)]
    elif scenario is not None:
        # What follows "--" is no option, whatever the file is called.
        dashes = ["--"] if scenario.startswith("-") else []
        read, what = sim.load(scenario), [*dashes, scenario]
    else:
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

    def again(name: str, report: sim.Report) -> str | None:
        """The command that runs again what failed."""
        if report.ok:
            return None
        # A random scenario's number is its seed, if no other was given.
        options = [] if report.seed == random else ["--seed", str(report.seed)]
        options += [] if name == "esprit" else ["--rival", name]
        return shlex.join(["esprit", "simulate", *options, *what])

    if json:
        render.as_json(
            [
                {"placement": name, **report.summary(), "again": again(name, report)}
                for name, report in reports
            ]
        )
    else:
        for name, report in reports:
            _print(name, report)
            if (command := again(name, report)) is not None:
                print(f"  again: {command}")
    return 0 if all(report.ok for name, report in reports if name == (names[0] or "esprit")) else 1


def _print(name: str, report: sim.Report) -> None:
    print(f"{report.scenario}, seed {report.seed}, placement {name} (simulated)")
    for key in SHOWN:
        if key in report.figures:
            print(f"  {key:18} {report.figures[key]:.6g}")
    if report.violation is not None:
        print(f"  BROKEN {report.violation}")
    for line in report.unmet:
        print(f"  UNMET {line}")
    if report.ok:
        print("  every rule was kept and every expectation met")

"""Plots of a report. matplotlib is an extra; without it the report says so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from esprit.sim.report import Report

#: Points of a plot, beyond which jobs are thinned out evenly.
POINTS = 20_000


def draw(report: Report, folder: Path) -> list[str]:
    """Write ``jobs.png``: what each engine had, and how long jobs took.

    Returns:
        What was not drawn, and why.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return ["plots: not drawn, matplotlib is missing; install it with esprit[sim]"]
    done = [row for row in report.jobs if row["done"] is not None]
    if not done:
        return ["plots: not drawn, there was no job"]
    thinned = done[:: max(1, len(done) // POINTS)]
    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    stay, load = figure.subplots(2, 1, sharex=True)
    for number, name in sorted(report.engines.items()):
        rows = [row for row in thinned if row["engine"] == number]
        times = [int(str(row["submitted"])) / 1e6 for row in rows]
        spans = [(int(str(row["done"])) - int(str(row["submitted"]))) / 1e3 for row in rows]
        if rows:
            stay.plot(times, spans, ".", markersize=2, label=name)
    stay.set_ylabel("stay in the engine (µs)")
    stay.set_title(f"{report.scenario}, seed {report.seed} (simulated)")
    if len(report.engines) <= 12:
        stay.legend(loc="upper right", markerscale=4)
    events = [row for row in report.events if row["kind"] not in ("engine", "sagrant")]
    for row in events[:200]:
        load.axvline(int(str(row["time"])) / 1e6, color="0.8", linewidth=0.8)
    last = max(int(str(row["done"])) for row in done) / 1e6
    bins = 100
    for number, name in sorted(report.engines.items())[:12]:
        counts = [0.0] * bins
        for row in done:
            if row["engine"] == number:
                at = int(int(str(row["done"])) / 1e6 / last * (bins - 1))
                counts[at] += int(str(row["bytes"])) * 8 / (last / bins * 1e-3) / 1e9
        load.plot([last * (at + 0.5) / bins for at in range(bins)], counts, label=name)
    load.set_ylabel("done (Gbit/s)")
    load.set_xlabel("virtual time (ms)")
    figure.savefig(folder / "jobs.png", dpi=110)
    return []

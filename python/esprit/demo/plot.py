"""The picture of a run: throughput and each engine's share over time, events marked."""

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path

from esprit.demo.history import History, differences
from esprit.demo.series import Series

#: One point of the throughput curve covers this many milliseconds.
STEP = 100


def draw(
    path: Path,
    streams: Sequence[Series],
    history: History,
    events: Sequence[tuple[int, str]],
    begin: int,
    end: int,
) -> None:
    """Writes the picture.

    Args:
        path: a PNG file.
        streams: what the downloads received.
        history: what the engines did.
        events: milliseconds and titles.
        begin: the first millisecond of the picture.
        end: the last one.
    """
    # It would say on standard error that it builds a cache, or may not keep one.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    # More than a second to load, and of no use to the rest.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    rates, engines = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])

    times = list(range(begin, end, STEP))
    seconds = [(time - begin) / 1000 for time in times]
    total = [sum(s.rate(time, time + STEP) for s in streams) / 1e6 for time in times]
    rates.plot(seconds, total, color="0.2", linewidth=1.2)
    rates.fill_between(seconds, total, color="0.85")
    rates.set_ylabel("downloads, Mbit/s")
    rates.set_ylim(bottom=0)
    figure.suptitle("Traffic through the team while it was taken apart")

    names = history.engines
    points: list[float] = []
    parts: dict[str, list[float]] = {name: [] for name in names}
    for earlier, later in itertools.pairwise(history.samples):
        if not begin <= later.time <= end:
            continue
        steps = differences(earlier.engines, later.engines)
        points.append((later.time - begin) / 1000)
        whole = sum(steps.values())
        for name in names:
            parts[name].append(100 * steps.get(name, 0) / whole if whole else 0.0)
    if points:
        engines.stackplot(points, *(parts[name] for name in names), labels=names, alpha=0.85)
        engines.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    engines.set_ylabel("work done by each engine, %")
    engines.set_ylim(0, 100)
    engines.set_xlim(0, (end - begin) / 1000)
    engines.set_xlabel("seconds")

    for number, (time, _) in enumerate(events, start=1):
        at = (time - begin) / 1000
        for axes in (rates, engines):
            axes.axvline(at, color="tab:red", linewidth=0.8, linestyle="--")
        rates.annotate(
            str(number),
            (at, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            color="tab:red",
            fontsize=9,
        )
    titles = "\n".join(f"{number}  {title}" for number, (_, title) in enumerate(events, start=1))
    rates.text(1.01, 1.0, titles, transform=rates.transAxes, va="top", linespacing=1.6, fontsize=9)
    figure.savefig(path, dpi=110)

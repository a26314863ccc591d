"""Rounds of measurements and what they come to."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.lab import Lab, cores
from bench.paths import YARDSTICK, Row


@dataclass(slots=True, kw_only=True)
class Series:
    """The goodput of one path, a value per round, in bit/s."""

    row: Row
    pinned: list[float] = field(default_factory=list)
    free: list[float] = field(default_factory=list)

    def of(self, pinned: bool) -> list[float]:
        """The values of one way to run."""
        return self.pinned if pinned else self.free


def alternate(
    labs: Sequence[tuple[Row, Lab]],
    *,
    rounds: int,
    seconds: float,
    say: Callable[[str], None],
) -> list[Series]:
    """Measures every path once per round, so that all of them see the same minutes."""
    series = [Series(row=row) for row, _ in labs]
    for number in range(rounds):
        for pinned in (True, False):
            for (row, lab), values in zip(labs, series, strict=True):
                rate = lab.tcp(seconds=seconds, where=cores(pinned))
                values.of(pinned).append(rate)
                way = "pinned" if pinned else "free"
                say(f"round {number + 1}/{rounds}, {way}: {row.setup.name} {rate / 1e9:.2f} Gbit/s")
    return series


def ratio(series: Series, yardstick: Series, *, pinned: bool) -> float:
    """The median of the rounds' ratios to the yardstick."""
    pairs = zip(series.of(pinned), yardstick.of(pinned), strict=True)
    return statistics.median(value / unit for value, unit in pairs)


def report(series: Sequence[Series]) -> list[Mapping[str, object]]:
    """One value per path, for JSON and for the table."""
    (yardstick,) = (one for one in series if one.row.setup.name == YARDSTICK)
    return [
        {
            "path": one.row.setup.name,
            "goal": one.row.goal,
            "bit_per_second": {"pinned": one.pinned, "free": one.free},
            "median_bit_per_second": {
                "pinned": statistics.median(one.pinned),
                "free": statistics.median(one.free),
            },
            "ratio_to_raw_pair": {
                "pinned": ratio(one, yardstick, pinned=True),
                "free": ratio(one, yardstick, pinned=False),
            },
        }
        for one in series
    ]

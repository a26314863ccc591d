"""Distributions: what is printed of many values, and what is kept of them."""

import math
import statistics
from collections.abc import Sequence
from typing import TypedDict


class Distribution(TypedDict):
    """Many values. Percentiles are values that occurred: no value between two is made up."""

    count: int
    p50: float | None
    p90: float | None
    p99: float | None
    max: float | None
    mean: float | None
    values: list[float]


def percentile(values: Sequence[float], part: float) -> float | None:
    """The smallest value that `part` (0 to 1) of all do not exceed; None of none.

    By nearest rank: of 200 values p99 is the 198th, so that the worst two count.
    """
    if not values:
        return None
    rank = max(1, math.ceil(part * len(values) - 1e-9))
    return sorted(values)[rank - 1]


def distribution(values: Sequence[float], *, keep: int = 10_000) -> Distribution:
    """All that is said of many values.

    Args:
        values: in the order in which they were measured.
        keep: how many of them stand in the result, evenly chosen.
    """
    step = max(1, math.ceil(len(values) / keep))
    return {
        "count": len(values),
        "p50": percentile(values, 0.5),
        "p90": percentile(values, 0.9),
        "p99": percentile(values, 0.99),
        "max": max(values, default=None),
        "mean": sum(values) / len(values) if values else None,
        "values": list(values[::step]),
    }


class Median(TypedDict):
    """A median, and between which values that of infinitely many would lie."""

    median: float
    low: float
    high: float


def median(values: Sequence[float], confidence: float = 0.95) -> Median:
    """The median with its interval, whatever the values' distribution.

    Each value lies above the true median with probability 1/2, so how many do is binomial; the
    interval leaves out as many on either side as happens that rarely. Of few values it is all of
    them, and its confidence is less.

    Args:
        values: independent ones, at least one.
        confidence: that the true median lies within.
    """
    ordered = sorted(values)
    count = len(ordered)
    outside, below = 0, 0.0
    while True:
        below += math.comb(count, outside) / 2**count
        if below > (1 - confidence) / 2 or 2 * outside >= count:
            break
        outside += 1
    at = max(0, outside - 1)
    return {"median": statistics.median(ordered), "low": ordered[at], "high": ordered[-1 - at]}


def figure(value: float | None, unit: str = "", digits: int = 2) -> str:
    """One value for people, of at most so many decimals."""
    if value is None:
        return "none"
    text = f"{value:.{digits}f}" if abs(value) < 100 else f"{value:.0f}"
    return f"{text} {unit}".strip()


def spread(found: Distribution, unit: str, digits: int = 2) -> str:
    """The three that are quoted."""
    parts = (("p50", found["p50"]), ("p99", found["p99"]), ("max", found["max"]))
    return ", ".join(f"{name} {figure(value, unit, digits)}" for name, value in parts)

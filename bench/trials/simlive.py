"""One scenario live, to be laid beside its simulation: two engines, one of which dies.

A constant load that the larger engine could nearly carry alone; it dies in the middle. What is
written has the fields of the simulation's summary: throughput and jobs of each engine before and
after, its share over time, and how long it took until the other one did all.
"""

import argparse
import asyncio
import itertools
import json
import time
from pathlib import Path
from typing import Any

from bench.lab import BenchError
from bench.load import Load
from bench.pair import Pair, Side, pair
from bench.trial import Result, Trial
from esprit.demo.history import shares
from esprit.demo.keys import Table

ENGINES: tuple[Table, ...] = (
    {"name": "large", "kind": "asic", "rate": "1G", "latency": "20us", "per_packet": "50ns"},
    {"name": "small", "kind": "asic", "rate": "500M", "latency": "20us", "per_packet": "50ns"},
)
DIES = "large"
SIZE = 1000


def options(parser: argparse.ArgumentParser) -> None:
    """What can be chosen."""
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--dies", type=float, default=2, help="at this second")
    parser.add_argument("--mbits", type=float, default=300, help="of payload")
    parser.add_argument("--gso", type=int, default=8, help="packets in one super-frame")
    parser.add_argument("--every", type=float, default=0.1, help="seconds between two looks")
    parser.add_argument("--simulation", type=Path, help="a summary to compare with, JSON")


async def run(arguments: argparse.Namespace) -> Result:
    """Plays the scenario and writes down what the simulation writes down."""
    simulated = _read(arguments.simulation)
    looks: list[tuple[int, dict[str, dict[str, int]]]] = []
    side = Side(engines=ENGINES, team={"software": "never"})
    async with pair(side, programs=arguments.programs) as found:
        async with Load.on(
            found,
            rate=int(arguments.mbits * 1e6 / 8 / SIZE),
            size=SIZE,
            gso=arguments.gso,
            tick_us=200,
        ) as load:
            began = time.monotonic_ns()
            died = 0
            while (now := time.monotonic_ns()) < began + arguments.seconds * 1e9:
                if not died and now >= began + arguments.dies * 1e9:
                    died = time.monotonic_ns()
                    await found.left.engines[DIES].fault("die")
                looks.append(await _look(found))
                await asyncio.sleep(arguments.every)
        events = [event for event in found.heard.events if event["kind"] == "engine"]
    summary = _summary(looks, began, died, events)
    summary["traffic"] = {
        "sent": load.sent["sent"],
        "delivered": load.received["received"],
        "drops": load.counts.left,
    }
    told = "; ".join(
        f"{name} {part['before']['bits_per_second'] / 1e6:.0f} -> "
        f"{part['after']['bits_per_second'] / 1e6:.0f} Mbit/s "
        f"({part['before']['share']:.0%} -> {part['after']['share']:.0%})"
        for name, part in summary["engines"].items()
    )
    compared = ""
    if simulated is not None:
        compared = f"; live / simulated: {_beside(summary, simulated)}"
    return Result(
        line=(
            f"{told}; taken over {summary['takeover_ms']} ms after the death; "
            f"{load.received['received']:,} of {load.sent['sent']:,} delivered{compared}"
        ),
        wrong=load.wrong(),
        data={"live": summary, "simulation": simulated, "load": load.report()},
    )


def _read(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise BenchError(f"{path}: {error}") from error


async def _look(found: Pair) -> tuple[int, dict[str, dict[str, int]]]:
    await found.left.refresh()
    return time.monotonic_ns(), {
        name: {"bytes": engine.resource["bytes"], "jobs": engine.resource["jobs"]}
        for name, engine in found.left.engines.items()
    }


def _summary(
    looks: list[tuple[int, dict[str, dict[str, int]]]],
    began: int,
    died: int,
    events: list[dict[str, Any]],
) -> dict[str, Any]:
    before = [look for look in looks if look[0] < died]
    after = [look for look in looks if look[0] >= died]
    names = list(looks[0][1])
    parts = {"before": _stretch(before), "after": _stretch(after)}
    # The first thing that the pool says of it: the engine's end, or jobs that another one did.
    told = [int(e["time"] or 0) for e in events if int(e["time"] or 0) >= died]
    series = [
        {
            "ms": (later[0] - began) / 1e6,
            "shares": shares(
                {name: later[1][name]["bytes"] - earlier[1][name]["bytes"] for name in names}
            ),
        }
        for earlier, later in itertools.pairwise(looks)
    ]
    return {
        "engines": {name: {when: part[name] for when, part in parts.items()} for name in names},
        "takeover_ms": round((min(told) - died) / 1e6, 2) if told else None,
        "series": series,
        "events": events,
    }


def _stretch(looks: list[tuple[int, dict[str, dict[str, int]]]]) -> dict[str, dict[str, float]]:
    (start, first), (end, last) = looks[0], looks[-1]
    span = max(1, end - start) / 1e9
    done = {name: last[name]["bytes"] - first[name]["bytes"] for name in first}
    parts = shares(done)
    return {
        name: {
            "bits_per_second": done[name] * 8 / span,
            "jobs": last[name]["jobs"] - first[name]["jobs"],
            "share": parts[name],
        }
        for name in first
    }


def _beside(live: dict[str, Any], simulated: dict[str, Any]) -> str:
    """Live over simulated, engine by engine."""
    said = []
    for name, part in live["engines"].items():
        for when, one in part.items():
            other = simulated.get("engines", {}).get(name, {}).get(when, {})
            rate = other.get("bits_per_second")
            if rate:
                said.append(f"{name} {when} {one['bits_per_second'] / rate:.2f}")
    return ", ".join(said) or "no field in common"


TRIAL = Trial(what=__doc__.splitlines()[0], options=options, run=run)

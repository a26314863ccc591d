"""One scenario live and in its simulation: two engines, one of which dies.

`bench/scenarios/engine-dies.toml` says what there is and what happens. The live team is made of the
same engines, gets the same packets at the same rate, and its engine dies at the same second; then
the simulator runs the file. Both halves come to the same fields: throughput, jobs and share of each
engine before and after the death, and how long it took until another engine did its jobs.
"""

import argparse
import asyncio
import importlib
import itertools
import time
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.figures import figure
from bench.lab import BenchError
from bench.load import Load
from bench.pair import Pair, Side, pair
from bench.trial import Result, Trial, say
from esprit.demo.history import shares

SCENARIO = Path(__file__).resolve().parent.parent / "scenarios" / "engine-dies.toml"
#: IPv4 and UDP, which the scenario counts as part of a packet and a sender does not.
HEADERS = 20 + 8
_BITS = {"K": 1e3, "M": 1e6, "G": 1e9}


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What each engine had done at a moment, in nanoseconds."""

    time: int
    bytes: Mapping[str, int]
    jobs: Mapping[str, int]


def options(parser: argparse.ArgumentParser) -> None:
    """What can be chosen."""
    parser.add_argument("--scenario", type=Path, default=SCENARIO)
    parser.add_argument("--every", type=float, default=0.1, help="seconds between two looks")
    parser.add_argument("--no-simulation", action="store_true", help="only the live half")


async def run(arguments: argparse.Namespace) -> Result:
    """Plays the scenario, simulates it, and lays one beside the other."""
    scenario = _read(arguments.scenario)
    live, load = await _live(scenario, arguments)
    simulated = None if arguments.no_simulation else _simulated(arguments.scenario, scenario)
    told = "; ".join(
        f"{name} {part['before']['bits_per_second'] / 1e6:.0f} -> "
        f"{part['after']['bits_per_second'] / 1e6:.0f} Mbit/s "
        f"({part['before']['share']:.0%} -> {part['after']['share']:.0%})"
        for name, part in live["engines"].items()
    )
    line = (
        f"live: {told}, taken over {figure(live['takeover_ms'], 'ms')} after the death, "
        f"{live['delivered']:,} of {live['sent']:,} delivered"
    )
    beside = None if simulated is None else compare(live, simulated)
    if beside is not None:
        line += "; live / simulated: " + ", ".join(
            f"{name} {figure(one)}" for name, one in beside.items()
        )
    return Result(
        line=line,
        wrong=load.wrong(),
        data={
            "live": live,
            "simulation": simulated,
            "live_by_simulated": beside,
            "load": load.report(),
        },
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BenchError(f"{path}: {error}") from error


def _seconds(text: str) -> float:
    """A span as the scenario writes it."""
    for unit, factor in (("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9), ("s", 1.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    raise BenchError(f"{text}: no span of time")


async def _live(
    scenario: dict[str, Any], arguments: argparse.Namespace
) -> tuple[dict[str, Any], Load]:
    (team,), (traffic,), (fault,) = (scenario[what] for what in ("team", "traffic", "fault"))
    rate = float(traffic["rate"][:-1]) * _BITS[traffic["rate"][-1]]
    side = Side(
        members=team["member"],
        engines=scenario["engine"],
        team={"mode": team["mode"], "software": team["software"]},
    )
    looks: list[Look] = []
    died = 0
    async with pair(side, programs=arguments.programs, udp=team["sas"]["udp"]) as found:
        async with Load.on(
            found,
            rate=int(rate / 8 / traffic["size"]),
            size=traffic["size"] - HEADERS,
            gso=traffic["burst"],
            flows=traffic["flows"],
            tick_us=200,
        ) as load:
            began = time.monotonic_ns()
            while (now := time.monotonic_ns()) < began + _seconds(scenario["duration"]) * 1e9:
                if not died and now >= began + _seconds(fault["at"]) * 1e9:
                    looks.append(await _look(found))
                    died = time.monotonic_ns()
                    await found.left.engines[fault["engine"]].fault(fault["kind"])
                looks.append(await _look(found))
                await asyncio.sleep(arguments.every)
        events = [event for event in found.heard.events if event["kind"] == "engine"]
    redone = [
        int(event["time"] or 0)
        for event in events
        if event.get("what") == "redone" and int(event["time"] or 0) >= died
    ]
    return {
        "engines": parts(looks, died),
        "series": series(looks, began),
        "takeover_ms": (min(redone) - died) / 1e6 if redone else None,
        "redone": sum(int(e.get("jobs") or 0) for e in events if e.get("what") == "redone"),
        "sent": load.sent["sent"],
        "delivered": load.received["received"],
        "drops": load.counts.left,
        "events": events,
    }, load


async def _look(found: Pair) -> Look:
    await found.left.refresh()
    engines = {name: engine.resource for name, engine in found.left.engines.items()}
    return Look(
        time=time.monotonic_ns(),
        bytes={name: engine["bytes"] for name, engine in engines.items()},
        jobs={name: engine["jobs"] for name, engine in engines.items()},
    )


def parts(looks: Sequence[Look], died: int) -> dict[str, dict[str, dict[str, float]]]:
    """What each engine did before and after a moment."""
    spans = {
        "before": [look for look in looks if look.time <= died],
        "after": [look for look in looks if look.time > died],
    }
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in looks[0].bytes}
    for when, some in spans.items():
        first, last = some[0], some[-1]
        done = {name: last.bytes[name] - first.bytes[name] for name in found}
        share = shares(done)
        for name, engine in found.items():
            engine[when] = {
                "bits_per_second": done[name] * 8e9 / max(1, last.time - first.time),
                "jobs": last.jobs[name] - first.jobs[name],
                "share": share[name],
            }
    return found


def series(looks: Sequence[Look], began: int) -> list[dict[str, Any]]:
    """Each engine's share of the bytes over time."""
    return [
        {
            "ms": (later.time - began) / 1e6,
            "shares": shares({n: later.bytes[n] - earlier.bytes[n] for n in later.bytes}),
        }
        for earlier, later in itertools.pairwise(looks)
    ]


def _simulated(path: Path, scenario: dict[str, Any]) -> dict[str, Any] | None:
    """The same fields of the simulation; None where there is no simulator."""
    try:
        sim = importlib.import_module("esprit.sim")
    except ImportError:
        say("there is no simulator here: only the live half")
        return None
    report = sim.run(path)
    (fault,) = scenario["fault"]
    died = int(_seconds(fault["at"]) * 1e9)
    end = int(_seconds(scenario["duration"]) * 1e9)
    jobs = [dict(job) for job in report.jobs if job["done"] is not None]
    redone = [
        job["submitted"] for job in report.jobs if job["attempt"] and job["submitted"] >= died
    ]
    moments = sorted({0, died, died + 1, *range(0, end, 100_000_000), end})
    looks = list(_looks(jobs, report.engines, moments))
    figures = report.figures
    return {
        "engines": parts(looks, died),
        "series": series(looks, 0),
        "takeover_ms": (min(redone) - died) / 1e6 if redone else None,
        "redone": figures["engines.redone"],
        "sent": figures["sent"],
        "delivered": figures["delivered"],
        "drops": {
            name.removeprefix("drop."): count
            for name, count in figures.items()
            if name.startswith("drop.")
        },
        "violation": report.summary()["violation"],
        "figures": dict(figures),
    }


def _looks(
    jobs: Iterable[Mapping[str, Any]], names: Mapping[int, str], moments: Iterable[int]
) -> Iterable[Look]:
    """What the engines had done at each moment, from the rows of their jobs."""
    ordered = sorted(jobs, key=lambda job: int(job["done"]))
    done = dict.fromkeys(names.values(), 0)
    count = dict.fromkeys(names.values(), 0)
    at = 0
    for moment in moments:
        while at < len(ordered) and ordered[at]["done"] <= moment:
            job = ordered[at]
            # What another host's engines opened is not the sender's work.
            if job["direction"] == "seal":
                done[names[job["engine"]]] += job["bytes"]
                count[names[job["engine"]]] += 1
            at += 1
        yield Look(time=moment, bytes=dict(done), jobs=dict(count))


def compare(live: Mapping[str, Any], simulated: Mapping[str, Any]) -> dict[str, float]:
    """Live over simulated, for every figure that the simulation does not have as zero."""
    pairs: dict[str, tuple[float, float]] = {}
    for name, spans in live["engines"].items():
        for when, one in spans.items():
            other = simulated["engines"].get(name, {}).get(when)
            if other is not None:
                key = "bits_per_second"
                pairs[f"{name} {when}"] = (one[key], other[key])
    for key in ("takeover_ms", "delivered"):
        if live[key] is not None and simulated[key] is not None:
            pairs[key] = (live[key], simulated[key])
    return {name: one / other for name, (one, other) in pairs.items() if other}


TRIAL = Trial(what=__doc__.splitlines()[0], options=options, run=run)

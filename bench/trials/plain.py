"""Round trips of plain traffic with engines idle, at work, saturated, and all hung.

Plain traffic needs no engine, so it must not notice. The states follow one another within each
round, with the same protected load in all but the first: what that load takes of the processor
cores is thus told apart from what waiting for an engine would take.

A p99 of a thousand round trips wanders by more than an engine could do to it, so that one of ten
rounds proves nothing. The rounds are short and many, each state is compared with another of the
same round, each round begins with another state, and the median ratio is told with the interval in
which it lies.
"""

import argparse
import asyncio
import statistics
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from bench.figures import Median, distribution, figure, median
from bench.load import Load
from bench.pair import CLEAR, Pair, Side, pair
from bench.tools import Program
from bench.trial import Result, Trial, say
from esprit.demo.keys import Table
from esprit.demo.teams import ADDRESS

SLOW: Table = {"name": "slow", "kind": "asic", "rate": "20M", "latency": "50us"}
FAST: Table = {"name": "fast", "kind": "asic", "rate": "2G", "latency": "20us"}
#: No engine is asked for anything; engines that can do it all; one that cannot; all hung.
STATES = ("idle", "loaded", "saturated", "hung")
SIZE = 1000


@dataclass(slots=True)
class Trips:
    """Round trips in one state, a list for each round, in nanoseconds."""

    rounds: list[list[int]] = field(default_factory=list)
    lost: int = 0
    #: Whether the protected packets were dropped for want of an engine, in each round.
    refused: list[int] = field(default_factory=list)


def options(parser: argparse.ArgumentParser) -> None:
    """What can be chosen."""
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=1, help="of each state in each round")
    parser.add_argument("--mbits", type=float, default=60, help="protected, in all states but idle")
    parser.add_argument("--every-us", type=int, default=500, help="between two round trips")


async def run(arguments: argparse.Namespace) -> Result:
    """Measures state after state, round after round."""
    found_trips = {state: Trips() for state in STATES}
    wrong: list[str] = []
    side = Side(engines=[SLOW, FAST], team={"software": "never"})
    async with pair(side, programs=arguments.programs) as found:
        await found.tools.echo(found.receiver, CLEAR)
        ping = await found.tools.ping(found.sender, ADDRESS["right"], CLEAR, arguments.every_us)
        for number in range(arguments.rounds):
            first = number % len(STATES)
            for state in (*STATES[first:], *STATES[:first]):
                trips = found_trips[state]
                wrong += await _state(found, ping, state, trips, arguments)
                p50, p99 = _percentiles(trips.rounds[-1])
                say(f"round {number + 1}, {state}: p50 {p50:.0f} us, p99 {p99:.0f} us")
    medians = {
        state: [
            statistics.median(_percentiles(one)[which] for one in trips.rounds) for which in (0, 1)
        ]
        for state, trips in found_trips.items()
    }
    ratios = {
        f"{state}/{base}": [
            median(
                [
                    _percentiles(one)[which] / _percentiles(unit)[which]
                    for one, unit in zip(
                        found_trips[state].rounds, found_trips[base].rounds, strict=True
                    )
                ]
            )
            for which in (0, 1)
        ]
        for state in ("saturated", "hung")
        for base in ("idle", "loaded")
    }
    told = ", ".join(f"{state} {p50:.0f}/{p99:.0f}" for state, (p50, p99) in medians.items())
    against = ", ".join(
        f"{which} p50 {_told(p50)}, p99 {_told(p99)}" for which, (p50, p99) in ratios.items()
    )
    if not all(found_trips["saturated"].refused):
        say("the engines were not saturated in every round: raise --mbits")
    return Result(
        line=(
            f"plain round trips p50/p99 in us: {told}; ratios "
            f"with their 95 % intervals (goal 1): {against}; "
            f"lost {sum(trips.lost for trips in found_trips.values())}"
        ),
        wrong=wrong,
        data={
            "medians_us": medians,
            "ratios": ratios,
            "states": {
                state: {
                    "us": distribution([trip / 1e3 for one in trips.rounds for trip in one]),
                    "rounds_us": [_percentiles(one) for one in trips.rounds],
                    "lost": trips.lost,
                    "refused": trips.refused,
                }
                for state, trips in found_trips.items()
            },
        },
    )


def _told(ratio: Median) -> str:
    low, high = figure(ratio["low"]), figure(ratio["high"])
    return f"{figure(ratio['median'])} ({low} to {high})"


def _percentiles(trips: list[int]) -> tuple[float, float]:
    found = distribution([trip / 1e3 for trip in trips], keep=1)
    return found["p50"] or 0.0, found["p99"] or 0.0


async def _state(
    found: Pair, ping: Program, state: str, trips: Trips, arguments: argparse.Namespace
) -> list[str]:
    """Puts the engines into a state, measures, and puts them back."""
    load = None
    async with AsyncExitStack() as stack:
        if state != "idle":
            load = await stack.enter_async_context(
                Load.on(found, rate=int(arguments.mbits * 1e6 / 8 / SIZE), size=SIZE, tick_us=1000)
            )
        if state == "saturated":
            await found.left.engines["fast"].remove()
        if state == "hung":
            for engine in found.left.engines.values():
                await engine.fault("hang")
        # Whatever was under way before belongs to no state.
        await asyncio.sleep(0.2)
        await ping.ask("take")
        await asyncio.sleep(arguments.seconds)
        taken = await ping.ask("take")
        # Before the account is made: what a hung engine holds is neither sealed nor dropped.
        if state == "saturated":
            await found.left.add_engine(FAST)
        if state == "hung":
            for engine in found.left.engines.values():
                await engine.reset()
        await found.left.refresh()
    trips.rounds.append([int(trip) for trip in taken["trips"]])
    trips.lost += int(taken["lost"])
    trips.refused.append(0 if load is None else sum(load.counts.left.values()))
    return [] if load is None else load.wrong()


TRIAL = Trial(what=__doc__.splitlines()[0], options=options, run=run)

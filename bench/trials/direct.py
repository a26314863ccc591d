"""What a learning switch makes of direct delivery, beside return: moves, replies, loss.

In direct delivery an engine's own member sends what it sealed for another, with that member's
source address, so that the switch learns the address at another port, and learns it back with the
next packet that its owner sends. Round trips are protected and go both ways.
"""

import argparse
import asyncio
from typing import Any

from bench.figures import distribution, figure
from bench.load import Load
from bench.pair import SECRET, Pair, Side, pair
from bench.switch import watched
from bench.trial import Result, Trial
from esprit.demo.keys import Table
from esprit.demo.teams import ADDRESS

#: The first member's engine does not suffice for its traffic: the second one's does the rest.
MEMBERS: tuple[Table, ...] = (
    {"interface": "eth1", "engine": {"kind": "asic", "rate": "30M", "latency": "20us"}},
    {"interface": "eth2", "engine": {"kind": "asic", "rate": "2G", "latency": "20us"}},
)
SIZE = 1000
_ECHO = SECRET + 10


def options(parser: argparse.ArgumentParser) -> None:
    """What can be chosen."""
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--mbits", type=float, default=120)
    parser.add_argument("--flows", type=int, default=16)
    parser.add_argument("--mode", default="balance-alb")
    parser.add_argument("--deliveries", default="return,direct", help="by comma")


async def run(arguments: argparse.Namespace) -> Result:
    """One delivery after the other, the same traffic."""
    results: dict[str, dict[str, Any]] = {}
    wrong: list[str] = []
    for delivery in arguments.deliveries.split(","):
        side = Side(
            members=MEMBERS,
            engines=(),
            team={"mode": arguments.mode, "delivery": delivery, "software": "never"},
        )
        async with pair(side, programs=arguments.programs, bundle=True) as found:
            one, faults = await _measure(found, arguments)
        results[delivery] = one
        wrong += [f"{delivery}: {fault}" for fault in faults]
    told = "; ".join(
        f"{delivery}: {figure(one['moves_per_second'], '', 1)} moves/s, "
        f"{one['replies']:,} of {one['requests']:,} replies, "
        f"p50 {figure(one['trips_us']['p50'])} us, lost {one['lost']:,} of {one['sent']:,}, "
        f"out of order {one['reordered']:,}"
        for delivery, one in results.items()
    )
    return Result(line=told, wrong=wrong, data={"deliveries": results})


async def _measure(found: Pair, arguments: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    await found.tools.echo(found.receiver, _ECHO)
    pings = [await found.tools.ping(found.sender, ADDRESS["right"], _ECHO, 1000) for _ in range(8)]
    async with watched(found.switch) as moves:
        async with Load.on(
            found,
            rate=int(arguments.mbits * 1e6 / 8 / SIZE),
            size=SIZE,
            flows=arguments.flows,
            tick_us=1000,
        ) as load:
            await asyncio.gather(*(ping.ask("take") for ping in pings))
            await asyncio.sleep(arguments.seconds)
            taken = await asyncio.gather(*(ping.ask("take") for ping in pings))
        count = moves.total
    trips = [trip / 1e3 for one in taken for trip in one["trips"]]
    lost = sum(int(one["lost"]) for one in taken)
    engines = {name: engine.resource for name, engine in found.left.engines.items()}
    faults = [] if arguments.mode == "balance-alb" else load.wrong()
    if load.received["duplicates"]:
        faults.append(f"{load.received['duplicates']} packets came twice")
    return {
        "moves": count,
        "moves_per_second": count / arguments.seconds,
        "by_address": moves.moves,
        "requests": len(trips) + lost,
        "replies": len(trips),
        "trips_us": distribution(trips),
        "sent": load.sent["sent"],
        "lost": load.sent["sent"] - load.received["received"],
        "reordered": load.received["reordered"],
        "refused_by_replay": load.counts.refused_by_replay,
        "secondary_jobs": {name: engine["secondary_jobs"] for name, engine in engines.items()},
        "engines": engines,
        "load": load.report(),
    }, faults


TRIAL = Trial(what=__doc__.splitlines()[0], options=options, run=run)

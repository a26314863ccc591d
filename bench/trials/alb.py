"""balance-alb over three shaped members of unlike load: the replay window and the switch.

Each member is a bottleneck of its own, with a queue of its own delay. Many flows go by all of them,
each member with its own SA: the peer's replay window must refuse nothing, and no address may move
at the switch.
"""

import argparse
import asyncio
from dataclasses import asdict

from bench.load import Load
from bench.pair import Side, pair
from bench.switch import watched
from bench.trial import Result, Trial

SIZE = 1200


def options(parser: argparse.ArgumentParser) -> None:
    """What can be chosen."""
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rates", default="200mbit,80mbit,30mbit", help="of the members, by comma")
    parser.add_argument("--flows", type=int, default=48)
    parser.add_argument("--mbits", type=float, default=250, help="offered, of all flows together")


async def run(arguments: argparse.Namespace) -> Result:
    """Loads, counts and judges."""
    rates = arguments.rates.split(",")
    names = [f"eth{number + 1}" for number in range(len(rates))]
    left = Side(members=[{"interface": name} for name in names], team={"mode": "balance-alb"})
    async with pair(
        left,
        programs=arguments.programs,
        bundle=True,
        shape=dict(zip(names, rates, strict=True)),
    ) as found:
        async with (
            watched(found.switch) as moves,
            Load.on(
                found,
                rate=int(arguments.mbits * 1e6 / 8 / SIZE),
                size=SIZE,
                flows=arguments.flows,
                tick_us=1000,
            ) as load,
        ):
            await asyncio.sleep(arguments.seconds)
        members = {
            name: member.resource["stats64"]["tx"]["packets"]
            for name, member in found.left.members.items()
        }
        takeovers = found.heard.count("takeover")
    refused = load.counts.refused_by_replay
    # Each flow is a stream of its own, and keeps its order.
    wrong = load.wrong()
    if refused:
        wrong.append(f"the peer's replay windows refused {refused} packets")
    if moves.total and not takeovers:
        wrong.append(f"addresses moved {moves.total} times at the switch: {moves.moves}")
    idle = [name for name, packets in members.items() if not packets]
    if idle:
        wrong.append(f"{', '.join(idle)} carried nothing, so this shows nothing")
    carried = ", ".join(f"{name} {packets:,}" for name, packets in members.items())
    return Result(
        line=(
            f"{load.sent['sent']:,} packets of {arguments.flows} flows over {carried} "
            f"(shaped {arguments.rates}): refused by replay {refused}, address moves "
            f"{moves.total}, lost in the shaped links {load.whereabouts.link:,}, "
            f"out of order {load.received['reordered']}"
        ),
        wrong=wrong,
        data={
            "members": members,
            "moves": moves.moves,
            "takeovers": takeovers,
            "load": load.report(),
            "whereabouts": asdict(load.whereabouts),
        },
    )


TRIAL = Trial(what=__doc__.splitlines()[0], options=options, run=run)

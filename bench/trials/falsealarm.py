"""More load than the team carries, for minutes: does probing take a busy member for a deaf one?"""

import argparse
import asyncio

from bench.load import Load
from bench.pair import Pair, Side, pair
from bench.trial import Result, Trial, say
from esprit.demo.keys import Table

#: Payload that fills a packet of the usual MTU with ESP in UDP around it.
SIZE = 1300
#: Packets of one super-frame: as many as fit into 64 KiB.
GSO = 40


def options(parser: argparse.ArgumentParser) -> None:
    """What can be chosen."""
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", help="between two probes, where it is not the default")
    parser.add_argument("--members", type=int, default=2)
    parser.add_argument(
        "--rate", type=int, default=1_000_000, help="packets/s: more than anyone carries"
    )


async def run(arguments: argparse.Namespace) -> Result:
    """Loads and counts alarms."""
    probe: Table = {} if arguments.every is None else {"every": arguments.every}
    left = Side(
        members=[{"interface": f"eth{number + 1}"} for number in range(arguments.members)],
        tables=[("[probe]", probe)],
    )
    async with pair(left, programs=arguments.programs) as found:
        await asyncio.to_thread(found.fix_neighbours)
        async with Load.on(found, rate=arguments.rate, size=SIZE, gso=GSO, tick_us=1000) as load:
            for minute in range(int(arguments.minutes)):
                await asyncio.sleep(60)
                say(f"minute {minute + 1}: {_alarms(found)} alarms")
            await asyncio.sleep(60 * (arguments.minutes % 1))
        alarms = found.heard.count("probe", heard=False)
        takeovers = found.heard.count("takeover")
        probes = {
            name: {
                key: value
                for key, value in member.resource.items()
                if key.startswith("probes") or key in ("heard", "tx_errors")
            }
            for name, member in found.left.members.items()
        }
    carried = load.received["received"] / load.sent["seconds"]
    return Result(
        line=(
            f"{arguments.minutes:g} minutes at {carried:,.0f} packets/s carried "
            f"({carried * SIZE * 8 / 1e9:.2f} Gbit/s; {load.rate:,.0f} offered): "
            f"{alarms} false alarms, {takeovers} takeovers (goal 0)"
        ),
        wrong=load.wrong(order=not takeovers),
        data={
            "alarms": alarms,
            "takeovers": takeovers,
            "members": probes,
            "events": [e for e in found.heard.events if e["kind"] in ("probe", "takeover", "link")],
            "load": load.report(),
        },
    )


def _alarms(found: Pair) -> int:
    return found.heard.count("probe", heard=False)


TRIAL = Trial(what=__doc__.splitlines()[0], options=options, run=run)

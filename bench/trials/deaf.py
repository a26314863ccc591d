"""The active member turns deaf under load, its carrier stays: how soon is that found?

A firewall in the switch's namespace drops everything at the member's port, so no interface of
left's notices anything. The moment at which it began is that of the last packet that arrived.
"""

import argparse
import asyncio
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from bench.arrivals import Arrival, longest_silence, read
from bench.figures import distribution, spread
from bench.lab import BenchError
from bench.load import Load
from bench.pair import Pair, Side, pair
from bench.trial import Result, Trial, say
from esprit.demo.keys import Table
from esprit.demo.lab import Switch
from esprit.demo.teams import ADDRESS

#: Packets that came so long before a member turns deaf are looked at.
BEFORE_NS = 50_000_000
MS = 1e6
GOAL_MS = 50.0
#: How long the team may take to find it.
PATIENCE = 10.0
_TABLE = "deaf"
#: nftables' hooks at a port, by the way that is cut.
_WAYS = {"both": ("ingress", "egress"), "out": ("ingress",), "in": ("egress",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deafness:
    """One trial. Times are nanoseconds of the monotonic clock."""

    member: str
    cut: int
    #: When the data plane says that it hears the member no longer, and that it took over.
    probe: int | None
    takeover: int | None
    #: Where this trial's records begin in the file, and how many they are.
    start: int
    count: int


def options(parser: argparse.ArgumentParser) -> None:
    """What can be chosen."""
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--members", type=int, default=2)
    parser.add_argument("--every", default="10ms", help="between two probes")
    parser.add_argument("--miss", type=int, default=3)
    parser.add_argument("--of", type=int, default=4)
    parser.add_argument("--hold", default="200ms", help="until a member counts as heard again")
    parser.add_argument("--target", action="store_true", help="the peer is asked by ARP besides")
    parser.add_argument("--way", choices=sorted(_WAYS), default="both", help="seen from left")
    parser.add_argument("--rate", type=int, default=20_000, help="packets/s")


async def cut(switch: Switch, port: str, way: str) -> None:
    """Drops what passes a port of the switch, which stays up."""
    chains = "".join(
        f"chain {hook} {{ type filter hook {hook} device {port} priority 0; policy drop; }}\n"
        for hook in _WAYS[way]
    )
    script = f"table netdev {_TABLE} {{\n{chains}}}\n"
    await asyncio.to_thread(switch.run, "nft", "-f", "-", stdin=script)


async def mend(switch: Switch) -> None:
    """Lets everything pass again."""
    await asyncio.to_thread(switch.run, "nft", "delete", "table", "netdev", _TABLE)


async def run(arguments: argparse.Namespace) -> Result:
    """Cuts, waits and judges."""
    probe: Table = {
        "every": arguments.every,
        "miss": arguments.miss,
        "of": arguments.of,
        "hold": arguments.hold,
    }
    if arguments.target:
        probe["target"] = ADDRESS["right"]
    left = Side(
        members=[{"interface": f"eth{number + 1}"} for number in range(arguments.members)],
        tables=[("[probe]", probe)],
    )
    async with pair(left, programs=arguments.programs) as found:
        records = found.folder / "records"
        async with Load.on(found, rate=arguments.rate, size=64, take=records) as load:
            trials = []
            for number in range(arguments.trials):
                trials.append(await _deafen(found, load, arguments.way))
                if number % 10 == 9:
                    say(f"{number + 1} of {arguments.trials} members turned deaf")
        arrivals = {trial: read(records, trial.start, trial.count) for trial in trials}
        return _judge(trials, load, arrivals)


async def _deafen(found: Pair, load: Load, way: str) -> Deafness:
    await found.left.refresh()
    (active,) = found.left.resource["active"]
    await load.arrived(time.monotonic_ns())
    since = time.monotonic_ns()
    await cut(found.switch, found.switch.port(found.sender, active), way)
    done = time.monotonic_ns()
    try:
        takeover = await found.heard.wait("takeover", since, patience=PATIENCE)
        back = takeover is not None and await load.arrived(done, PATIENCE)
    finally:
        await mend(found.switch)
    if takeover is None or not back:
        raise BenchError(f"{active} is deaf, and nobody took over within {PATIENCE:g} s")
    probe = found.heard.find("probe", since, heard=False)
    start, count = await load.take(since - BEFORE_NS)
    await found.until_role(active, "waiting", patience=PATIENCE)
    return Deafness(
        member=active,
        cut=since,
        probe=None if probe is None else int(probe["time"] or 0),
        takeover=int(takeover["time"] or 0),
        start=start,
        count=count,
    )


def _judge(trials: list[Deafness], load: Load, records: Mapping[Deafness, list[Arrival]]) -> Result:
    silences, found, taken = [], [], []
    for trial in trials:
        around = longest_silence(records[trial])
        if around is None:
            continue
        last, first = around
        silences.append((first.arrived - last.arrived) / MS)
        if trial.probe is not None:
            found.append((trial.probe - last.arrived) / MS)
        if trial.takeover is not None:
            taken.append((trial.takeover - last.arrived) / MS)
    figures = {
        "silence_ms": distribution(silences),
        "found_ms": distribution(found),
        "takeover_ms": distribution(taken),
    }
    return Result(
        line=(
            f"{len(trials)} members turned deaf at {load.rate:,.0f} packets/s: "
            f"taken over after {spread(figures['takeover_ms'], 'ms')} (goal p99 {GOAL_MS:g} ms), "
            f"nothing arrived for {spread(figures['silence_ms'], 'ms')}"
        ),
        # What a deaf port swallows is lost; nothing may come twice.
        wrong=load.wrong(order=False),
        data={
            "figures": figures,
            "trials": [asdict(trial) for trial in trials],
            "load": load.report(),
        },
    )


TRIAL = Trial(what=__doc__.splitlines()[0], options=options, run=run)

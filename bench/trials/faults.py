"""Engines fail in every way while packets run through them: nothing accepted may be lost.

Left has simulated engines and no processor cores to fall back on, unless asked for. One of them
after the other fails, by a seeded draw; then it is reset, verified and in use again. What the
sender's kernel took is accounted for by number: sealed, or dropped with a counter; at the peer
none missing, none twice, none out of order, no wrong integrity check value.
"""

import argparse
import asyncio
import contextlib
import random
import time
from collections import Counter
from dataclasses import asdict

import esprit
from bench.figures import distribution, spread
from bench.load import Load, carried
from bench.pair import CORES, Pair, Side, pair
from bench.trial import Result, Trial, say
from esprit.demo.keys import Table
from esprit.errors import EspritError

#: Unlike engines, each able to carry the load alone.
ENGINES: tuple[Table, ...] = (
    {"name": "small", "kind": "asic", "rate": "400M", "latency": "50us"},
    {"name": "middle", "kind": "asic", "rate": "1G", "latency": "20us"},
    {"name": "large", "kind": "asic", "rate": "2G", "latency": "10us"},
)
KINDS = ("die", "hang", "wrong", "late", "sag", "stick", "coalesce")
#: What a fault is given: of `wrong` every how many answers, of `late` by how many microseconds, of
#: `sag` what is left in per cent, of `coalesce` for how many nanoseconds.
VALUES = {"wrong": (1, 50), "late": (500, 20_000), "sag": (5, 60), "coalesce": (100_000, 2_000_000)}
MS = 1e6
#: Drops that say that packets could not be done, not that they were accepted and lost.
REFUSED = frozenset({"engine-full", "no-engine"})


def options(parser: argparse.ArgumentParser) -> None:
    """What can be chosen."""
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--kinds", default=",".join(KINDS), help="of faults, by comma")
    parser.add_argument("--verify", default="all", help="[team] verify; empty: leave it out")
    parser.add_argument("--cores", action="store_true", help="processor cores take what is left")
    parser.add_argument("--rate", type=int, default=20_000, help="packets/s")
    parser.add_argument("--size", type=int, default=600)
    parser.add_argument("--last", type=float, default=0.1, help="seconds that a fault lasts")


async def run(arguments: argparse.Namespace) -> Result:
    """Breaks, mends and accounts."""
    team: Table = {"software": "overflow" if arguments.cores else "never"}
    if arguments.verify:
        team["verify"] = arguments.verify
    engines = [*ENGINES, CORES] if arguments.cores else ENGINES
    draw = random.Random(arguments.seed)
    kinds = arguments.kinds.split(",")
    done: Counter[str] = Counter()
    resets = []
    async with pair(
        Side(engines=engines, team=team), programs=arguments.programs, listen=True
    ) as found:
        rate = await carried(found, arguments.rate, size=arguments.size)
        async with Load.on(found, rate=rate, size=arguments.size, flows=4) as load:
            for number in range(arguments.faults):
                kind = draw.choice(kinds)
                name = str(draw.choice(ENGINES)["name"])
                value = draw.randint(*VALUES.get(kind, (0, 0)))
                await found.left.engines[name].fault(kind, value)
                done[kind] += 1
                await asyncio.sleep(arguments.last)
                resets.append(await _mend(found, name))
                if number % 20 == 19:
                    say(f"{number + 1} of {arguments.faults} faults")
        seen = await found.overheard()
        events = [e for e in found.heard.events if e["kind"] == "engine"]
        whole = {name: engine.resource for name, engine in found.left.engines.items()}
    wrong = load.wrong()
    broken = {r: n for r, n in load.counts.left.items() if r not in REFUSED}
    refused = {r: n for r, n in load.counts.left.items() if r in REFUSED}
    if broken:
        wrong.append(f"accepted, and dropped with a reason: {broken}")
    if load.whereabouts.link > 0:
        wrong.append(f"{load.whereabouts.link} sealed packets are missing at the peer")
    for port, one in seen.items():
        if one.found[0]:
            wrong.append(f"plaintext in {one.found[0]} frames at {port}")
    figures = {"reset_ms": distribution(resets)}
    what = Counter(str(event.get("what")) for event in events)
    redone = sum(int(e.get("jobs") or 0) for e in events if e.get("what") == "redone")
    return Result(
        line=(
            f"{arguments.faults} faults ({', '.join(f'{n} {k}' for k, n in sorted(done.items()))}) "
            f"at {load.rate:,.0f} packets/s: {load.sent['sent']:,} sent, "
            f"{load.received['received']:,} arrived, accepted and lost {sum(broken.values())}, "
            f"refused {sum(refused.values())}, before us {load.counts.tap}, "
            f"twice {load.received['duplicates']}, out of order {load.received['reordered']}, "
            f"wrong ICV {load.counts.right.get('icv', 0)}; "
            f"{redone} jobs redone; "
            f"reset and verified in {spread(figures['reset_ms'], 'ms', 0)}"
        ),
        wrong=wrong,
        data={
            "faults": dict(done),
            "figures": figures,
            "events": dict(what),
            "engines": whole,
            "load": load.report(),
            "whereabouts": asdict(load.whereabouts),
        },
    )


async def _mend(found: Pair, name: str) -> float:
    """Resets an engine, as often as it takes; answers in how many milliseconds."""
    began = time.monotonic_ns()
    for _ in range(5):
        await found.left.refresh()
        engine = found.left.engines.get(name)
        with contextlib.suppress(EspritError):
            await _reset(engine)
            break
    return (time.monotonic_ns() - began) / MS


async def _reset(engine: esprit.Engine | None) -> None:
    if engine is not None:
        await engine.reset()


TRIAL = Trial(what=__doc__.splitlines()[0], options=options, run=run)

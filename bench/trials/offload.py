"""Processor seconds of the host per GB sealed: a simulated engine, and processor cores.

The same traffic at the same rate, in turns. A simulated engine seals on a thread of its own, which
a real one would not need: its seconds are counted apart, and what is left is what the host would
spend with an engine that encrypts.
"""

import argparse
import asyncio
import statistics
from typing import Any

from bench import processor
from bench.figures import distribution, figure
from bench.load import Load
from bench.pair import CORES, Pair, Side, pair
from bench.trial import Result, Trial, say
from esprit.demo.keys import Table

SIZE, GSO = 1300, 40
ENGINES: dict[str, Table] = {
    "cpu": CORES,
    "asic": {"name": "simulated", "kind": "asic", "rate": "10G", "latency": "20us"},
}


def options(parser: argparse.ArgumentParser) -> None:
    """What can be chosen."""
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--mbits", type=float, default=1000, help="of payload")
    parser.add_argument(
        "--single", action="store_true", help="packet by packet, not in super-frames"
    )


async def run(arguments: argparse.Namespace) -> Result:
    """Measures one after the other, round by round."""
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in ENGINES}
    wrong: list[str] = []
    for number in range(arguments.rounds):
        for name, engine in ENGINES.items():
            software = "never" if name == "asic" else "always"
            side = Side(engines=[engine], team={"software": software})
            async with pair(side, programs=arguments.programs) as found:
                one, faults = await _measure(found, arguments)
            rounds[name].append(one)
            wrong += faults
            say(
                f"round {number + 1}: {name} {one['gigabytes']:.2f} GB, host "
                f"{one['host_s_per_gb']:.2f} s/GB, "
                f"engine's thread {one['engine_s_per_gb']:.2f} s/GB"
            )
    medians = {
        name: {key: statistics.median(one[key] for one in values) for key in values[0]}
        for name, values in rounds.items()
    }
    cpu, asic = (medians[name]["host_s_per_gb"] for name in ("cpu", "asic"))
    ratios = [
        with_engine["host_s_per_gb"] / without["host_s_per_gb"]
        for with_engine, without in zip(rounds["asic"], rounds["cpu"], strict=True)
    ]
    saved = 1 - statistics.median(ratios)
    return Result(
        line=(
            f"the sealing host's processor seconds per GB: {figure(cpu)} with processor cores, "
            f"{figure(asic)} with a simulated engine, whose own thread took "
            f"{figure(medians['asic']['engine_s_per_gb'])} more; offload would save {saved:.0%}"
        ),
        wrong=wrong,
        data={
            "medians": medians,
            "rounds": rounds,
            "ratios": distribution(ratios),
            "saved": saved,
        },
    )


async def _measure(
    found: Pair, arguments: argparse.Namespace
) -> tuple[dict[str, float], list[str]]:
    process = found.teams["left"].process
    assert process is not None  # noqa: S101 - the pair is up
    before = processor.seconds(process.pid)
    gso = 1 if arguments.single else GSO
    rate = int(arguments.mbits * 1e6 / 8 / SIZE)
    async with Load.on(found, rate=rate, size=SIZE, gso=gso, tick_us=1000) as load:
        await asyncio.sleep(arguments.seconds)
    threads = processor.spent(before, processor.seconds(process.pid))
    host, simulated = processor.split(threads)
    gigabytes = load.counts.sealed * SIZE / 1e9
    measured: dict[str, Any] = {
        "gigabytes": gigabytes,
        "host_s_per_gb": host / gigabytes,
        "engine_s_per_gb": simulated / gigabytes,
        **{f"thread {name}": took / gigabytes for name, took in threads.items()},
    }
    return measured, load.wrong()


TRIAL = Trial(what=__doc__.splitlines()[0], options=options, run=run)

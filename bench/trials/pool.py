"""A saturated pool of simulated engines: which share of the sum of their rates is reached.

More is offered than the engines can do together, in super-frames, and no processor core takes what
is left. What each engine did is read from its counters over a steady stretch. With `--tasks` it is
applications' tasks that saturate the pool, made by `esprit load`, and no packet at all.
"""

import argparse
import asyncio
import json
import signal
import sys
import time
from dataclasses import asdict
from typing import Any

from bench.figures import distribution, figure
from bench.lab import BenchError
from bench.load import Load
from bench.pair import Pair, Side, pair
from bench.trial import Result, Trial, say
from esprit.demo.history import differences
from esprit.demo.lab import tell
from esprit.demo.teams import TEAM

SIZE, GSO = 1300, 40
GOAL = 0.95
#: Seconds until queues are full and rates are steady.
WARM_UP = 1.0
_UNITS = {"K": 1e3, "M": 1e6, "G": 1e9}


def options(parser: argparse.ArgumentParser) -> None:
    """What can be chosen."""
    parser.add_argument("--rates", default="1.2G,0.8G", help="of the engines, by comma")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of each round")
    parser.add_argument("--offered", type=float, default=1.25, help="of the sum of the rates")
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--native", action="store_true", help="ESP without UDP")
    parser.add_argument("--mode", default="active-backup")
    parser.add_argument("--tasks", action="store_true", help="applications' tasks, not packets")


def bits(rate: str) -> float:
    """A rate as the configuration has it, in bit/s."""
    return float(rate.rstrip("KMG")) * _UNITS.get(rate[-1], 1.0)


async def run(arguments: argparse.Namespace) -> Result:
    """Saturates and reads counters."""
    rates = {f"engine{n + 1}": bits(rate) for n, rate in enumerate(arguments.rates.split(","))}
    total = sum(rates.values())
    side = Side(
        members=[{"interface": "eth1"}],
        engines=[
            {"name": name, "kind": "asic", "rate": f"{rate / 1e6:.0f}M", "per_packet": "0ns"}
            for name, rate in rates.items()
        ],
        team={"software": "never", "mode": arguments.mode},
    )
    wrong: list[str] = []
    async with pair(side, programs=arguments.programs, udp=not arguments.native) as found:
        work = _by_tasks if arguments.tasks else _by_packets
        rounds, offered, more = await work(found, arguments, total, wrong)
        engines = {name: engine.resource for name, engine in found.left.engines.items()}
        hung = found.heard.count("engine", what="hung")
    shares = [sum(one.values()) / total for one in rounds]
    own = {name: distribution([one[name] / rates[name] for one in rounds]) for name in rates}
    share = distribution(shares)
    by_engine = ", ".join(f"{name} {figure(part['p50'])}" for name, part in own.items())
    return Result(
        line=(
            f"{figure(share['p50'], '', 3)} of {total / 1e9:g} Gbit/s reached "
            f"(median of {len(shares)}, least {figure(min(shares), '', 3)}; goal {GOAL:g}); "
            f"of their own rates: {by_engine}; "
            f"engines taken for hung {hung} times; {offered}"
        ),
        wrong=wrong,
        data={
            "figures": {"share": share, "engines": own},
            "rounds": rounds,
            "engines": engines,
            "hung": hung,
            **more,
        },
    )


Rounds = list[dict[str, float]]


async def _by_packets(
    found: Pair, arguments: argparse.Namespace, total: float, wrong: list[str]
) -> tuple[Rounds, str, dict[str, Any]]:
    rounds = []
    rate = int(total * arguments.offered / 8 / arguments.size)
    async with Load.on(
        found, rate=rate, size=arguments.size, gso=GSO, flows=4, tick_us=500
    ) as load:
        await asyncio.sleep(WARM_UP)
        for number in range(arguments.rounds):
            rounds.append(await _stretch(found, arguments.seconds))
            _tell(number, rounds[-1])
    wrong += load.wrong()
    offered = (
        f"offered {load.rate * arguments.size * 8 / 1e9:.2f} Gbit/s, before us "
        f"{load.counts.tap:,} packets, refused {sum(load.counts.left.values()):,}"
    )
    return rounds, offered, {"load": load.report(), "whereabouts": asdict(load.whereabouts)}


async def _by_tasks(
    found: Pair, arguments: argparse.Namespace, total: float, wrong: list[str]
) -> tuple[Rounds, str, dict[str, Any]]:
    del total
    rounds, reports = [], []
    # The command asks the daemon to make the load, so what is measured is no command's start.
    seconds = WARM_UP + arguments.seconds + WARM_UP
    for number in range(arguments.rounds):
        command = ["-m", "esprit", "load", "-j", "--team", TEAM, "--size", str(arguments.size)]
        process = await asyncio.create_subprocess_exec(
            *found.sender.inside(sys.executable, *command, "--seconds", f"{seconds:g}"),
            stdout=asyncio.subprocess.PIPE,
            env=found.teams["left"].environment,
            process_group=0,
        )
        try:
            await _until_busy(found)
            await asyncio.sleep(WARM_UP / 2)
            rounds.append(await _stretch(found, arguments.seconds))
            said, _ = await process.communicate()
        finally:
            tell(process, signal.SIGKILL)
            await process.wait()
        if process.returncode:
            raise BenchError(f"esprit load ended with {process.returncode}; see above")
        reports.append(json.loads(said))
        _tell(number, rounds[-1])
    for report in reports:
        for what in ("lost", "bad"):
            if report[what]:
                wrong.append(f"{report[what]} messages of applications {what}")
    reached = ", ".join(f"{report['reached']:.3f}" for report in reports)
    return rounds, f"of the measured rates, as esprit load has it: {reached}", {"tasks": reports}


async def _until_busy(found: Pair) -> None:
    """Waits until the engines are given something to do.

    Raises:
        BenchError: they are not.
    """
    _, before = await _bytes(found)
    for _ in range(500):
        await asyncio.sleep(0.02)
        _, now = await _bytes(found)
        if now != before:
            return
    raise BenchError("esprit load gives the engines nothing to do")


def _tell(number: int, one: dict[str, float]) -> None:
    told = ", ".join(f"{name} {rate / 1e9:.3f} Gbit/s" for name, rate in one.items())
    say(f"round {number + 1}: {told}")


async def _stretch(found: Pair, seconds: float) -> dict[str, float]:
    """Bits per second of each engine over a stretch of time."""
    began, before = await _bytes(found)
    await asyncio.sleep(seconds)
    ended, after = await _bytes(found)
    span = (ended - began) / 1e9
    # An engine that was tested again meanwhile counts from zero; that it was is told apart.
    return {name: done * 8 / span for name, done in differences(before, after).items()}


async def _bytes(found: Pair) -> tuple[int, dict[str, int]]:
    """What each engine has done, and when it said so: in the middle of the question."""
    asked = time.monotonic_ns()
    await found.left.refresh()
    answered = time.monotonic_ns()
    done = {name: engine.resource["bytes"] for name, engine in found.left.engines.items()}
    return (asked + answered) // 2, done


TRIAL = Trial(what=__doc__.splitlines()[0], options=options, run=run)

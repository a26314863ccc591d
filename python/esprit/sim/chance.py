"""Random scenarios: short, seeded, in pairs of mode, delivery, software and verify.

Any nine seeds in a row hold each pair of two of the last three settings, eighteen each pair with
the mode. What a seed makes is a value: a failing one is run again by its number.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final

from esprit.model.spec import EngineSpec
from esprit.model.words import Delivery, Software
from esprit.sim.report import Report
from esprit.sim.run import run
from esprit.sim.scenario import (
    IMIX,
    Application,
    Fault,
    FaultKind,
    Member,
    Sas,
    Scenario,
    Team,
    Traffic,
)

DELIVERY: Final[tuple[Delivery, ...]] = ("return", "direct", "auto")
SOFTWARE: Final[tuple[Software, ...]] = ("always", "overflow", "never")
VERIFY: Final = (0, 1, 10)

#: Traffic of a scenario, in nanoseconds: some hundred packets, and time for a hung engine (2 ms) to
#: be found and for decisions (1 ms) to follow.
SHORT: Final = (3_000_000, 8_000_000)

#: One cipher is enough here, and halves the time of the engines' tests.
CIPHER: Final = ("aes-128-gcm-16",)

OF_ENGINES: Final[tuple[FaultKind, ...]] = (
    "die", "hang", "wrong", "late", "heal", "sag", "stick", "coalesce", "reset", "verify",
    "remove",
)  # fmt: skip
OF_MEMBERS: Final[tuple[FaultKind, ...]] = (
    "link-down", "link-down", "link-up", "vanish", "deaf", "hear", "remove",
)  # fmt: skip


def scenario(seed: int) -> Scenario:
    """The random scenario of that number."""
    lot = random.Random(f"esprit scenario {seed}")  # noqa: S311 - seeded on purpose
    third, pair = seed % 9 // 3, seed % 3
    settings: dict[str, object] = {
        "mode": ("active-backup", "balance-alb")[seed // 9 % 2],
        "delivery": DELIVERY[third],
        "software": SOFTWARE[pair],
        "failback": lot.choice(("never", "better")),
    }
    duration = lot.randrange(*SHORT)
    members = tuple(_member(lot, number) for number in range(1, lot.randint(2, 5)))
    engines = [_asic(lot, f"card{number}") for number in range(lot.randint(0, 2))]
    if lot.random() < 0.5:
        engines.append(EngineSpec(name="cores", kind="cpu", threads=lot.randint(1, 2)))
    bundle = settings["mode"] == "balance-alb" and lot.random() < 0.7
    team = Team(
        name="team0",
        members=members,
        settings=settings,
        verify_every=VERIFY[(third + pair) % 3],
        sas=Sas(
            policies=lot.randint(1, 3),
            bundle=bundle,
            mode=lot.choice(("tunnel", "transport")),
            udp=lot.random() < 0.3,
            esn=lot.random() < 0.5,
        ),
    )
    names = [m.engine.name for m in members if m.engine is not None]
    names += [engine.name for engine in engines]
    return Scenario(
        name=f"fuzz-{seed}",
        source=f"random scenario {seed}",
        seed=seed,
        duration=duration,
        control_ns=lot.choice((200_000, 1_000_000, 3_000_000)),
        turn_ns=lot.choice((1_000, 2_000, 10_000)),
        readmit_ns=lot.choice((None, 1_000_000, 4_000_000)),
        teams=(team,),
        engines=tuple(engines),
        traffic=tuple(_traffic(lot, number) for number in range(lot.randint(1, 3))),
        faults=tuple(_faults(lot, duration, [m.interface for m in members], names)),
        applications=tuple(_applications(seed)),
        job_rows=0,
    )


def _asic(lot: random.Random, name: str) -> EngineSpec:
    return EngineSpec(
        name=name,
        kind="asic",
        rate_bps=int(10 ** lot.uniform(8.3, 10)),
        latency_ns=lot.randint(1_000, 50_000),
        ns_per_packet=lot.randint(10, 500),
        queue_ns=lot.choice((None, 500_000, 5_000_000)),
        sa_slots=lot.choice((2, 1024)),
        memory=lot.choice((None, 256 << 10)),
        primary=lot.random() < 0.9,
        secondary=True,
        algorithms=CIPHER,
    )


def _member(lot: random.Random, number: int) -> Member:
    name = f"eth{number}"
    return Member(
        interface=name,
        rate_bps=lot.choice((500_000_000, 1_000_000_000, 10_000_000_000)),
        ring=lot.choice((4, 64, 256)),
        up=lot.random() < 0.9,
        priority=lot.randint(0, 2),
        carry=lot.random() < 0.9,
        weight=lot.randint(1, 3),
        foreign=lot.random() < 0.8,
        engine=_asic(lot, f"{name}-asic") if lot.random() < 0.6 else None,
    )


def _traffic(lot: random.Random, number: int) -> Traffic:
    kind = lot.random()
    sizes = lot.choice((((64, 1),), ((1400, 1),), IMIX))
    # Short packets are as many as long ones, not twenty times as many.
    mean = sum(size * weight for size, weight in sizes) / sum(weight for _, weight in sizes)
    return Traffic(
        name=f"source{number}",
        team="team0",
        direction="in" if kind > 0.7 else "out",
        plain=kind < 0.15 or kind > 0.95,
        pattern=lot.choice(("constant", "poisson", "on-off")),
        rate_bps=int(10 ** lot.uniform(7.5, 9.2) * mean / 1400),
        on_ns=lot.randint(50_000, 1_000_000),
        off_ns=lot.randint(50_000, 1_000_000),
        sizes=sizes,
        flows=lot.randint(1, 24),
        burst=lot.choice((1, 1, 8, 64)),
    )


def _applications(seed: int) -> Iterable[Application]:
    """Of one scenario in four, by a lot of their own: all else is as it was without them."""
    lot = random.Random(f"esprit applications {seed}")  # noqa: S311 - seeded on purpose
    if lot.random() < 0.75:
        return
    for number in range(lot.randint(1, 2)):
        yield Application(
            name=f"program{number}",
            direction=lot.choice(("seal", "open")),
            rate_bps=int(10 ** lot.uniform(7.5, 9)),
            size=lot.choice((16, 1400, 16384)),
            packets=lot.choice((1, 8, None)),
            window=lot.choice((1, 4, 32)),
        )


def _faults(
    lot: random.Random, duration: int, members: Sequence[str], engines: Sequence[str]
) -> Iterable[Fault]:
    for at in sorted(lot.randrange(duration) for _ in range(lot.randint(0, 6))):
        if engines and lot.random() < 0.6:
            kind = lot.choice(OF_ENGINES)
            value = {
                "wrong": lot.choice((1, 3, 50)),
                "late": lot.choice((100, 3_000, 9_000)),
                "sag": lot.randint(1, 90),
                "coalesce": lot.randint(1_000, 3_000_000),
            }.get(kind, 0)
            yield Fault(at=at, kind=kind, engine=lot.choice(engines), value=value)
        else:
            yield Fault(at=at, kind=lot.choice(OF_MEMBERS), member=lot.choice(members))


def again(seed: int) -> str:
    """The command that runs the random scenario of that number."""
    return f"esprit simulate --random {seed}"


def check(seed: int) -> str | None:
    """Run one; what it broke and the command that shows it again, or None."""
    try:
        report: Report = run(scenario(seed))
    except Exception as error:
        return f"seed {seed}: {type(error).__name__}: {error}; again: {again(seed)}"
    return None if report.violation is None else f"{report.violation}; again: {again(seed)}"


def fuzz(seeds: Iterable[int], *, processes: int = 1) -> tuple[str, ...]:
    """Run many; a line for each that broke a rule, in the order of the seeds.

    Each line ends with the command that runs it again; ``scenario(seed)`` shows what it is.
    """
    if processes <= 1:
        found = list(map(check, seeds))
    else:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            found = list(pool.map(check, seeds, chunksize=16))
    return tuple(line for line in found if line is not None)

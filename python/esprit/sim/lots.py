"""What random scenarios are drawn from: parts, and what happens to them.

Each kind of thing that not every scenario has is drawn by a lot of its own, made from the seed and
its name, so that a new kind leaves what a seed made of the others as it was.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from esprit.model.spec import EngineSpec, ProbeSpec
from esprit.sim.files import records
from esprit.sim.scenario import (
    IMIX,
    Application,
    Fault,
    FaultKind,
    Member,
    Sas,
    Team,
    Traffic,
)

#: One cipher is enough here, and halves the time of the engines' tests.
CIPHER: Final = ("aes-128-gcm-16",)

OF_ENGINES: Final[tuple[FaultKind, ...]] = (
    "die", "hang", "wrong", "late", "heal", "sag", "stick", "coalesce", "reset", "verify",
    "remove",
)  # fmt: skip
OF_MEMBERS: Final[tuple[FaultKind, ...]] = (
    "link-down", "link-down", "link-up", "vanish", "deaf", "hear", "remove",
)  # fmt: skip

#: Bytes of IP packets; short ones are as many as long ones, not twenty times as many.
SIZES: Final = (((64, 1),), ((1400, 1),), IMIX)


def lot(seed: int, of: str) -> random.Random:
    """The lot by which a scenario's things of that kind are drawn."""
    return random.Random(f"esprit {of} {seed}")  # noqa: S311 - seeded on purpose


def asic(lot: random.Random, name: str) -> EngineSpec:
    """A simulated encryption processor."""
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


def member(lot: random.Random, number: int, *, joins: bool = False) -> Member:
    """A member, with an engine of its own or without."""
    name = f"eth{number}"
    return Member(
        interface=name,
        rate_bps=lot.choice((500_000_000, 1_000_000_000, 10_000_000_000)),
        ring=lot.choice((4, 64, 256)),
        up=lot.random() < 0.9,
        joins=joins,
        priority=lot.randint(0, 2),
        carry=lot.random() < 0.9,
        weight=lot.randint(1, 3),
        foreign=lot.random() < 0.8,
        engine=asic(lot, f"{name}-asic") if lot.random() < 0.6 else None,
    )


def sas(lot: random.Random, *, bundle: bool) -> Sas:
    """A team's SAs."""
    return Sas(
        policies=lot.randint(1, 3),
        bundle=bundle,
        mode=lot.choice(("tunnel", "transport")),
        udp=lot.random() < 0.3,
        esn=lot.random() < 0.5,
    )


def traffic(lot: random.Random, number: int) -> Traffic:
    """A source of packets, out or in, protected or plain."""
    kind = lot.random()
    sizes = lot.choice(SIZES)
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


def recording(lot: random.Random, duration: int) -> tuple[tuple[int, int], ...]:
    """Trains of packets as a capture has them, read from the bytes of one.

    Fewer than what comes at a rate: 100 packets in a train, and a train in a millisecond, are
    1.1 Gbit/s of the longest ones for a quarter of the time on average.
    """
    order, (magic, unit) = lot.choice("<>"), lot.choice(((0xA1B2C3D4, 1_000), (0xA1B23C4D, 1)))
    data = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65_535, 1)
    at = 0
    while at < duration:
        for _ in range(lot.randint(1, 100)):
            size = lot.choice((64, 576, 1500)) + 14
            seconds, rest = divmod(at, 1_000_000_000)
            data += struct.pack(order + "IIII", seconds, rest // unit, 0, size)
            at += lot.choice((0, 0, 12_000))
        at += lot.randint(0, 2_000_000)
    return tuple(records(data))


def applications(seed: int) -> Iterable[Application]:
    """Programs that have the pool seal or open: of one scenario in four."""
    lot_ = lot(seed, "applications")
    if lot_.random() < 0.75:
        return
    for number in range(lot_.randint(1, 2)):
        yield Application(
            name=f"program{number}",
            direction=lot_.choice(("seal", "open")),
            rate_bps=int(10 ** lot_.uniform(7.5, 9)),
            size=lot_.choice((16, 1400, 16384)),
            packets=lot_.choice((1, 8, None)),
            window=lot_.choice((1, 4, 32)),
        )


def faults(
    lot: random.Random, duration: int, members: Sequence[str], engines: Sequence[str]
) -> Iterable[Fault]:
    """What breaks, and what is removed."""
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


def probe(lot: random.Random) -> ProbeSpec:
    """How members are probed: in rounds so short that one is found deaf, and heard again."""
    miss = lot.randint(1, 3)
    return ProbeSpec(
        every_ns=lot.choice((50_000, 200_000, 500_000)),
        miss=miss,
        of=lot.randint(miss, 5),
        hold_ns=lot.choice((200_000, 1_000_000)),
    )


def deaf(lot: random.Random, duration: int, members: Sequence[str]) -> Iterator[Fault]:
    """A member goes deaf; for good, or until it hears again."""
    name, at = lot.choice(members), lot.randrange(duration // 2)
    yield Fault(at=at, kind="deaf", member=name)
    if lot.random() < 0.5:
        yield Fault(at=lot.randrange(at, duration), kind="hear", member=name)


def returns(lot: random.Random, duration: int, left: Iterable[Fault]) -> Iterator[Fault]:
    """Of what was removed or has vanished, half joins again."""
    for fault in left:
        if fault.kind in ("remove", "vanish") and lot.random() < 0.5:
            at = lot.randrange(fault.at, duration)
            yield Fault(at=at, kind="add", member=fault.member, engine=fault.engine)


def joins(lot: random.Random, duration: int, members: Sequence[str], new: str) -> Fault:
    """A member joins, beside the others or in the place of one."""
    at = lot.randrange(duration)
    if lot.random() < 0.5:
        return Fault(at=at, kind="add", member=new)
    return Fault(at=at, kind="replace", member=lot.choice(members), by=new)


def settings(lot: random.Random, members: Sequence[str]) -> dict[str, object]:
    """What an operator may set of a team besides what the pairs are made of."""
    found: dict[str, object] = {}
    if lot.random() < 0.5:
        found["receive"] = "balance"
    if lot.random() < 0.3:
        found["failback"] = lot.choice(("never", "better", "always"))
        found["failback_delay_ns"] = lot.choice((0, 500_000))
    if lot.random() < 0.3:
        found["preferred"] = lot.choice(members)
    if lot.random() < 0.3:
        found["up_delay_ns"] = lot.choice((0, 300_000))
        found["down_delay_ns"] = lot.choice((0, 300_000))
    if lot.random() < 0.3:
        found["headroom"] = lot.choice((0.0, 0.3, 1.0))
    if lot.random() < 0.2:
        # The team's on all members is for a switch that aggregates, and this one does not.
        found["source_mac"] = "member"
    return found


def changes(lot: random.Random, duration: int, team: Team) -> Iterator[Fault]:
    """An operator changes the running team, once or twice."""
    names = [member.interface for member in team.members]
    for at in sorted(lot.randrange(duration) for _ in range(lot.randint(1, 2))):
        kind = lot.choice(("mode", "software", "set"))
        if kind == "mode":
            word = lot.choice(("active-backup", "balance-alb"))
            yield Fault(at=at, kind="mode", team=team.name, word=word)
        elif kind == "software":
            word = lot.choice(("always", "overflow", "never"))
            yield Fault(at=at, kind="software", team=team.name, word=word)
        else:
            wanted = settings(lot, names)
            wanted["delivery"] = lot.choice(("return", "direct", "auto"))
            if lot.random() < 0.3:
                wanted["verify_every"] = lot.choice((0, 1, 10))
            if lot.random() < 0.3:
                wanted["probe"] = lot.choice((probe(lot), ProbeSpec(every_ns=0)))
            yield Fault(at=at, kind="set", team=team.name, settings=wanted)

"""The active member's link is pulled under load, again and again: gaps and losses.

Left's two members and right's one hang on a learning bridge. Left sends numbered packets at a
constant rate, sealed in ESP. For each pull:

- the gap runs from the kernel's event, as the bench's own rtnetlink socket heard it, to the arrival
  of the first packet that was sent after the event: it must have gone by the other member. What
  waited in front of it counts, so this is no flattering figure;
- the silence is the time in which nothing arrived at all, whenever the event came;
- the first pulls are eavesdropped upon. To look into every frame costs what is no takeover's fault,
  so their gaps are told apart;
- a packet that never came was lost in our hands (a drop of left's team, by its counters), before us
  (the virtual NIC's queue was full), in the peer, or, the rest, in the link's: handed to a kernel
  whose cable was out.
"""

import argparse
import asyncio
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.arrivals import gap, read
from bench.figures import distribution, figure, spread
from bench.load import Load, carried
from bench.pair import Pair, Side, pair
from bench.tools import Links
from bench.trial import Result, Trial, say
from esprit.demo.eavesdrop import Seen

MEMBERS = ("eth1", "eth2")
#: Packets that came so long before a pull are looked at.
BEFORE_NS = 20_000_000
#: Nanoseconds to a millisecond, as people read gaps.
MS = 1e6
#: A left team that is busy beside its work.
BUSY = Path(__file__).resolve().parent.parent / "busy.py"
GOAL_MS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """One trial. Times are nanoseconds of the monotonic clock."""

    member: str
    pulled: int
    event: int
    #: When the data plane says that it took over.
    takeover: int | None
    #: Where this trial's records begin in the file, and how many they are.
    start: int
    count: int
    #: What the counters added meanwhile.
    ours: dict[str, int]
    peer: dict[str, int]
    before_us: int
    unread: int


def options(parser: argparse.ArgumentParser) -> None:
    """What can be chosen."""
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--rate", type=int, default=100_000, help="packets/s")
    parser.add_argument("--size", type=int, default=64, help="of a packet's payload, bytes")
    parser.add_argument(
        "--gso", type=int, default=16, help="packets that the sender hands over as one super-frame"
    )
    parser.add_argument("--busy", type=int, default=0, help="busy Python threads in left's daemon")
    parser.add_argument("--native", action="store_true", help="ESP without UDP")
    parser.add_argument(
        "--listened", type=int, default=20, help="more pulls, before, on which somebody eavesdrops"
    )
    parser.add_argument("--settle", type=float, default=0.2, help="seconds after each pull")


async def run(arguments: argparse.Namespace) -> Result:
    """Pulls, counts and judges."""
    program = ("-m", "esprit")
    if arguments.busy:
        program = (str(BUSY), str(arguments.busy))
    left = Side(members=[{"interface": name} for name in MEMBERS], program=program)
    async with pair(
        left,
        programs=arguments.programs,
        udp=not arguments.native,
        listen=arguments.listened > 0,
    ) as found:
        if arguments.busy:
            found.teams["left"].tell(signal.SIGUSR1)
        rate = await carried(found, arguments.rate, size=arguments.size, gso=arguments.gso)
        records = found.folder / "records"
        async with Load.on(
            found, rate=rate, size=arguments.size, gso=arguments.gso, take=records
        ) as load:
            links = await found.tools.links(found.sender)
            listened = [
                await _pull(found, load, links, arguments.settle) for _ in range(arguments.listened)
            ]
            seen = await found.overheard()
            pulls = []
            for number in range(arguments.trials):
                pulls.append(await _pull(found, load, links, arguments.settle))
                if number % 20 == 19:
                    say(f"{number + 1} of {arguments.trials} pulled")
        return _judge(arguments, pulls, listened, records, load, seen)


async def _pull(found: Pair, load: Load, links: Links, settle: float) -> Pull:
    before = await found.counts()
    (active,) = found.left.resource["active"]
    ifindex = found.ifindex(active)
    await asyncio.sleep(settle)
    pulled = time.monotonic_ns()
    await found.pull(active)
    event = await links.next(ifindex, up=False, since=pulled)
    told = await found.heard.wait("takeover", pulled)
    await load.arrived(event)
    await asyncio.sleep(settle)
    start, count = await load.take(pulled - BEFORE_NS)
    counts = (await found.counts()).since(before)
    restored = time.monotonic_ns()
    await found.insert(active)
    await links.next(ifindex, up=True, since=restored)
    await found.until_fit(active)
    return Pull(
        member=active,
        pulled=pulled,
        event=event,
        takeover=None if told is None else int(told["time"] or 0),
        start=start,
        count=count,
        ours=counts.left,
        peer=counts.right,
        before_us=counts.tap,
        unread=counts.unread,
    )


def _judge(
    arguments: argparse.Namespace,
    pulls: list[Pull],
    listened: list[Pull],
    records: Path,
    load: Load,
    seen: Mapping[str, Seen],
) -> Result:
    gaps, silences, since_pull, decided = [], [], [], []
    lost, by_link, ours, elsewhere, under_way = [], [], [], [], []
    wrong = []
    for pull in pulls:
        one = gap(read(records, pull.start, pull.count), pull.event)
        if one is None:
            wrong.append(f"after the pull of {pull.member} at {pull.pulled} nothing came")
            continue
        gaps.append((one.first.arrived - pull.event) / MS)
        silences.append(one.silence / MS)
        since_pull.append((one.first.arrived - pull.pulled) / MS)
        if pull.takeover is not None:
            decided.append((pull.takeover - pull.event) / MS)
        there = pull.before_us + pull.unread + sum(pull.peer.values())
        known = sum(pull.ours.values()) + there
        lost.append(one.lost + one.lost_after)
        ours.append(sum(pull.ours.values()))
        by_link.append(max(0, one.lost + one.lost_after - known))
        elsewhere.append(there)
        under_way.append((one.last.arrived - one.last.sent) / MS)
    under_ear = [
        (one.first.arrived - pull.event) / MS
        for pull in listened
        if (one := gap(read(records, pull.start, pull.count), pull.event)) is not None
    ]
    if len(under_ear) < len(listened):
        wrong.append(f"after {len(listened) - len(under_ear)} listened pulls nothing came")
    held = sum(pull.ours.get("port-down", 0) for pull in (*listened, *pulls))
    if held:
        wrong.append(f"{held} packets were lost in our queues when a link fell")
    wrong += load.wrong()
    drops = 0
    for port, one_port in seen.items():
        plain = sum(one_port.found)
        drops += one_port.drops
        if plain:
            wrong.append(f"plaintext in {plain} frames at {port}")
    figures = {
        "gap_ms": distribution(gaps),
        "gap_ms_listened": distribution(under_ear),
        "silence_ms": distribution(silences),
        "gap_after_pull_ms": distribution(since_pull),
        "decision_ms": distribution(decided),
        "lost": distribution(lost),
        "lost_by_link": distribution(by_link),
        "lost_by_us": distribution(ours),
        "lost_elsewhere": distribution(elsewhere),
        "under_way_ms": distribution(under_way),
    }
    overheard = (
        f"plaintext 0 in {len(listened)} more that were listened to (unheard frames {drops})"
        if seen
        else "nobody listened"
    )
    return Result(
        line=(
            f"{len(gaps)} pulls at {load.rate:,.0f} of {arguments.rate:,} packets/s"
            f"{f', {arguments.busy} busy threads' if arguments.busy else ''}: "
            f"gap after the event {spread(figures['gap_ms'], 'ms')} (goal p99 {GOAL_MS:g} ms); "
            f"lost a pull {spread(figures['lost'], '', 0)}, of these in the link's hands "
            f"{spread(figures['lost_by_link'], '', 0)}, in ours {figure(sum(ours), '', 0)}; "
            f"a packet was under way for {figure(figures['under_way_ms']['p50'], 'ms')}; "
            f"duplicates {load.received['duplicates']}, {overheard}"
        ),
        wrong=wrong,
        data={
            "figures": figures,
            "pulls": [asdict(pull) for pull in pulls],
            "load": load.report(),
            "whereabouts": asdict(load.whereabouts),
            "seen": {
                port: {name: getattr(one, name) for name in ("frames", "plain", "found", "drops")}
                for port, one in seen.items()
            },
        },
    )


TRIAL = Trial(what=__doc__.splitlines()[0], options=options, run=run)

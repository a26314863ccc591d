"""The figures that must hold, each by a run that prints it.

``esprit simulate --figures [NAME]`` or ``python -m esprit.sim.figures [NAME...]``.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from esprit.model.event import LinkChanged
from esprit.model.spec import EngineSpec
from esprit.model.words import ModeName
from esprit.modes.placement import BESIDE_NS, TIE_NS
from esprit.sim import files
from esprit.sim.report import Report, Violation
from esprit.sim.rivals import RIVALS
from esprit.sim.run import Run, run
from esprit.sim.scenario import IMIX, Fault, FaultKind, Member, Scenario, Team, Traffic

#: A line of a figure: what, its value, and whether it is as it must be (None: only printed).
Line = tuple[str, str, bool | None]

SIZES: Final = MappingProxyType({"64 B": ((64, 1),), "1400 B": ((1400, 1),), "mixed": IMIX})

#: What saturated engines do together, in bits per second: enough that a run has some ten thousand
#: packets, and not so much that it takes minutes.
TOGETHER: Final = 2_000_000_000


def _team(mode: ModeName = "active-backup", **settings: object) -> Team:
    return Team(
        name="team0",
        members=(Member(interface="eth1"), Member(interface="eth2")),
        settings={"mode": mode, "software": "never", **settings},
    )


def engines(count: int, ratio: float, together: int = TOGETHER) -> tuple[EngineSpec, ...]:
    """So many, in even steps from 1 to ``ratio``."""
    steps = [ratio ** (n / max(count - 1, 1)) for n in range(count)]
    return tuple(
        EngineSpec(
            name=f"card{n}",
            kind="asic",
            rate_bps=int(together * step / sum(steps)),
            ns_per_packet=10,
            algorithms=("aes-128-gcm-16",),
        )
        for n, step in enumerate(steps)
    )


def saturated(count: int, ratio: float, mode: ModeName, size: str) -> Scenario:
    """More than engines of unlike rates can do."""
    return Scenario(
        name=f"saturated-{count}",
        teams=(_team(mode),),
        engines=engines(count, ratio),
        duration=40_000_000,
        warmup=15_000_000,
        traffic=(Traffic(name="all", team="team0", load=1.1, sizes=SIZES[size], flows=64),),
    )


def pool() -> Iterator[Line]:
    """A saturated pool's throughput, of the sum of the rates of the engines that the mode opens."""
    modes: tuple[ModeName, ...] = ("active-backup", "balance-alb")
    for count in (1, 4, 16, 64):
        for ratio in (1, 100):
            for mode in modes:
                for size in SIZES:
                    report = run(saturated(count, ratio, mode, size))
                    found = report.figures
                    share = found["throughput_share"]
                    late = found.get("prediction_error", 0.0)
                    text = f"{share:.4f} of the sum; completions foretold to within {late:.1%}"
                    name = f"{count} engines 1:{ratio}, {mode}, {size}"
                    yield name, text + _broken(report), share >= 0.98 and report.violation is None


#: Arrivals of so many lots, the same for every placement.
LOTS: Final = 3

#: Where three say that a rival is ahead, so many decide whether chance did it.
MORE_LOTS: Final = 20

#: By so much at most a lot's rates differ from the scenario's. Which of equal engines is taken
#: first moves a p99 by half a per cent either way, and for packets at a constant rate it is the
#: same one in every lot: what is ahead at one rate only is luck.
_AROUND: Final = 0.02

#: Standard errors within which a mean difference of twenty lots lies in 95 of 100 cases (Student,
#: 19 degrees of freedom).
_STUDENT: Final = 2.093


def rivals() -> Iterator[Line]:
    """Throughput and p99 beside other placements, for every shipped scenario but the large one."""
    for name in (path.stem for path in files.shipped()):
        if name == "large":
            continue
        # From the first packet on: what a placement has let pile up before a measurement begins
        # would count in it as throughput.
        read = replace(files.load(name), warmup=0)
        ours = _Runs(read, None)
        yield f"{name}: esprit", str(ours), None
        for rival in RIVALS:
            theirs = _Runs(read, rival)
            said, keeps_up = _compared(ours, theirs)
            yield f"{name}: {rival}", f"{theirs}{said}", keeps_up


class _Runs:
    """A scenario under one placement, with as many lots of arrivals as were asked for.

    The placement is a rival's, by name, or the pool's own.
    """

    def __init__(self, scenario: Scenario, rival: str | None) -> None:
        self.scenario = scenario
        self._rival = rival
        self._reports: list[Report] = []

    def each(self, figure: str, lots: int) -> list[float]:
        """A figure of each of the first lots."""
        for seed in range(self.scenario.seed + len(self._reports), self.scenario.seed + lots):
            placement = None if self._rival is None else RIVALS[self._rival](seed)
            factor = 1 + random.Random(seed).uniform(-_AROUND, _AROUND)  # noqa: S311 - no secret
            traffic = tuple(
                replace(one, rate_bps=round(one.rate_bps * factor)) for one in self.scenario.traffic
            )
            varied = replace(self.scenario, traffic=traffic)
            self._reports.append(run(varied, seed=seed, placement=placement))
        return [report.figures[figure] for report in self._reports[:lots]]

    @property
    def broken(self) -> str:
        """Rules that it broke."""
        return "".join(_broken(report) for report in self._reports)

    def __str__(self) -> str:
        rate, late, drops = (
            statistics.fmean(self.each(figure, LOTS))
            for figure in ("throughput_bps", "p99_ns", "drops")
        )
        return f"{rate / 1e9:.3f} Gbit/s, p99 {late / 1e3:.1f} µs, {drops:.0f} drops{self.broken}"


def _compared(ours: _Runs, theirs: _Runs) -> tuple[str, bool]:
    """What is to be said of the two, and whether ours is behind in neither figure.

    Behind is what is more than chance, and more than two placements can differ by: in latency the
    tie-break, closer than which the formula does not tell engines apart, and in rate the one
    packet that is or is not under way when a run ends.
    """
    largest = max(size for one in ours.scenario.traffic for size, _ in one.sizes)
    packet_bps = 8e9 * largest / ours.scenario.duration
    figures = (
        ("throughput_bps", 1, packet_bps, "rate {:+.2f} ± {:.2f} Mbit/s"),
        ("p99_ns", -1, TIE_NS, "p99 {:+.2f} ± {:.2f} µs"),
    )
    said, keeps_up = "", not ours.broken
    for figure, better, apart, text in figures:
        if better * statistics.fmean(_ahead(ours, theirs, figure, LOTS)) <= 0:
            continue
        ahead = _ahead(ours, theirs, figure, MORE_LOTS)
        mean = statistics.fmean(ahead)
        chance = _STUDENT * statistics.stdev(ahead) / MORE_LOTS**0.5
        unit = 1e6 if better > 0 else 1e3
        said += f"; {text.format(mean / unit, chance / unit)} in {MORE_LOTS} lots"
        keeps_up &= better * mean - chance <= apart
    return said, keeps_up


def _ahead(ours: _Runs, theirs: _Runs, figure: str, lots: int) -> list[float]:
    """How much more of a figure a rival has, lot by lot."""
    pairs = zip(ours.each(figure, lots), theirs.each(figure, lots), strict=True)
    return [their - our for our, their in pairs]


def _broken(report: Report) -> str:
    return "" if report.violation is None else f" BROKEN {report.violation}"


def _active(second: int) -> Scenario:
    """An active member with traffic of its own, and another team's work of ``second`` bit/s."""
    card = EngineSpec(name="eth1-asic", kind="asic", rate_bps=4_000_000_000)
    waits = EngineSpec(name="eth2-asic", kind="asic", rate_bps=1_000_000_000)
    other = Team(
        name="team1",
        members=(Member(interface="eth3"),),
        settings={"mode": "active-backup", "software": "never"},
    )
    own = Team(
        name="team0",
        members=(
            Member(interface="eth1", priority=1, engine=card),
            Member(interface="eth2", engine=waits),
        ),
        settings={"mode": "active-backup", "software": "never"},
    )
    traffic = [
        Traffic(name="own", team="team0", pattern="poisson", rate_bps=1_000_000_000),
    ]
    if second:
        traffic.append(Traffic(name="other", team="team1", pattern="poisson", rate_bps=second))
    return Scenario(
        name="active-backup",
        teams=(own, other),
        duration=60_000_000,
        warmup=10_000_000,
        traffic=tuple(traffic),
    )


def backup() -> Iterator[Line]:
    """Secondary work in active-backup, and what the active member's own traffic feels of it."""
    report = run("spreading-backup")
    share = report.figures["engine.eth1-asic.secondary"]
    yield "active member's engine, idle ones able", f"{share:.0f} secondary jobs", share == 0
    alone = run(_active(0)).figures["own.p99_ns"]
    for second in (500_000_000, 3_000_000_000):
        found = run(_active(second)).figures
        growth = found["own.p99_ns"] / alone - 1
        text = f"p99 {found['own.p99_ns'] / 1e3:.1f} µs, {growth:+.1%}"
        yield f"own traffic beside {second / 1e9:.1f} Gbit/s of others'", text, growth < 0.1


def loopback() -> Iterator[Line]:
    """Members' own traffic in balance-alb beside applications that take all that is idle."""
    base = files.load("loop-back-balance")
    alone = run(replace(base, applications=())).figures
    text = f"p99 {alone['traffic.p99_ns'] / 1e3:.1f} µs"
    yield "no application", text, None
    idle = 1 - alone["throughput_share"]
    for name, packets, window in (("one message a task", 1, 288), ("64 KiB a task", None, 24)):
        tasks = tuple(replace(a, packets=packets, window=window) for a in base.applications)
        found = run(replace(base, applications=tasks)).figures
        late = (found["traffic.p99_ns"] - alone["traffic.p99_ns"]) / 1e3
        share = found["applications.throughput_share"] / idle
        # What is before it when a task is begun, that task, and the turn of the worker in which
        # the packet comes. The engines do 2 Gbit/s.
        task = max(a.size * a.messages for a in tasks) * 8 / 2e3
        bound = (BESIDE_NS + base.turn_ns) / 1e3 + task
        text = f"p99 {late:+.1f} µs of {bound:.0f}, applications {share:.3f} of what is idle"
        yield name, text, late <= bound and share >= 0.95


def plain() -> Iterator[Line]:
    """Plain traffic while every engine hangs, or is saturated."""

    def with_(load: float, kind: FaultKind | None) -> Scenario:
        cards = engines(2, 1)
        faults = () if kind is None else tuple(
            Fault(at=5_000_000, kind=kind, engine=card.name) for card in cards
        )  # fmt: skip
        return Scenario(
            name="plain",
            teams=(_team(),),
            engines=cards,
            duration=30_000_000,
            warmup=6_000_000,
            faults=faults,
            traffic=(
                Traffic(name="plain", team="team0", plain=True, rate_bps=500_000_000),
                Traffic(name="sealed", team="team0", pattern="poisson", load=load),
            ),
        )

    quiet = run(with_(0.1, None)).figures["plain.p99_ns"]
    yield "engines nearly idle", f"p99 {quiet / 1e3:.2f} µs", None
    for name, scenario in (
        ("every engine hung", with_(0.1, "hang")),
        ("every engine saturated", with_(1.5, None)),
    ):
        found = run(scenario).figures["plain.p99_ns"]
        # Within a turn of the worker and a frame on the wire, which what is sealed may share.
        yield name, f"p99 {found / 1e3:.2f} µs", found <= quiet + 3_000


def swap() -> Iterator[Line]:
    """How soon a replaced member's share is the formula's again."""
    read = files.load("hot-swap")
    report = run(read)
    joined = next(fault.at for fault in read.faults if fault.kind == "add")
    number = next(n for n, name in report.engines.items() if name == "eth3-asic")
    bin_ns = 1_000_000
    at = joined
    while at < read.duration:
        rows = [r for r in report.jobs if at <= int(str(r["submitted"])) < at + bin_ns]
        share = sum(r["engine"] == number for r in rows) / max(len(rows), 1)
        if 0.4 <= share <= 0.6:
            break
        at += bin_ns
    took = (at + bin_ns - joined) / 1e6
    yield "share of the new member's engine", f"{share:.2f} after {took:.0f} ms", took <= 100


#: Every kind that leaves the engine in the team; `remove` would have none left after eight.
ALL_FAULTS: Final[tuple[tuple[FaultKind, int], ...]] = (
    ("die", 0), ("hang", 0), ("late", 3_000), ("sag", 20), ("stick", 0),
    ("coalesce", 500_000), ("wrong", 5), ("heal", 0), ("reset", 0), ("verify", 0),
)  # fmt: skip

#: Reasons of drops before any engine had the packet, or may have it: all others had been accepted.
REFUSED: Final = ("engine-full", "no-engine", "no-memory")


def _storm(seed: int, count: int, rate_bps: int) -> Scenario:
    lot = random.Random(seed)  # noqa: S311 - a seeded experiment
    cards = engines(8, 10)
    span = 100_000
    faults = []
    for number in range(count):
        kind, value = lot.choice(ALL_FAULTS)
        card = lot.choice(cards).name
        faults.append(Fault(at=1_000_000 + number * span, kind=kind, engine=card, value=value))
    # One that never fails keeps the rest alive: without any engine packets are refused, rightly.
    cores = EngineSpec(name="cores", kind="cpu", threads=2)
    return Scenario(
        name=f"storm-{seed}",
        seed=seed,
        teams=(replace(_team(software="overflow"), verify_every=1),),
        engines=(*cards, cores),
        duration=2_000_000 + count * span,
        readmit_ns=2_000_000,
        faults=tuple(faults),
        traffic=(Traffic(name="all", team="team0", pattern="poisson", rate_bps=rate_bps),),
        job_rows=0,
    )


def faults(each: int = 1000) -> Iterator[Line]:
    """Injected engine faults of every kind: nothing accepted lost, twice, or out of order."""
    # Quiet, a quarter of what the healthy engines do, and all of it: there half is refused, since
    # all that is sealed is opened once more, by another engine.
    for rate_bps, runs in ((50_000_000, 10), (500_000_000, 10), (TOGETHER, 2)):
        total: dict[str, int] = {}
        broken: list[Violation] = []
        for seed in range(runs):
            report = run(_storm(seed, each, rate_bps))
            for name, value in report.figures.items():
                total[name] = total.get(name, 0) + int(value)
            broken += [] if report.violation is None else [report.violation]
        drops = {k.removeprefix("drop."): v for k, v in total.items() if k.startswith("drop.")}
        refused = {reason: drops.pop(reason) for reason in REFUSED if reason in drops}
        left = total.get("hung", 0) + total.get("quarantined", 0)
        yield (
            f"{runs * each} faults at {rate_bps // 1_000_000} Mbit/s",
            f"{total['sent']} packets, engines left {left} times, refused: {refused or 'none'}",
            not broken,
        )
        lost = sum(drops.values()) + sum(b.rule == "conservation" for b in broken)
        yield "  accepted and lost", str(lost), lost == 0
        for rule in ("duplicate", "order"):
            count = sum(b.rule == rule for b in broken)
            yield f"  breaks of rule {rule}", str(count), count == 0
        count = sum(b.rule == "redone" for b in broken)
        text = f"{total['redone']}, {count} of them with other bytes"
        yield "  jobs redone", text, count == 0
        yield from (("  broken", str(one), False) for one in broken)


def liar() -> Iterator[Line]:
    """A lying engine, at ``verify = all`` and at one in a thousand."""
    for every, name in ((1, "all"), (1000, "sample:1/1000")):
        scenario = Scenario(
            name="liar",
            teams=(replace(_team(), verify_every=every),),
            engines=engines(2, 1),
            duration=120_000_000,
            faults=(Fault(at=1_000_000, kind="wrong", engine="card0", value=1),),
            traffic=(Traffic(name="all", team="team0", rate_bps=800_000_000),),
        )
        report = run(scenario)
        number = next(n for n, engine in report.engines.items() if engine == "card0")
        jobs = sum(
            row["engine"] == number and int(str(row["submitted"])) >= 1_000_000
            for row in report.jobs
        )
        spoiled = report.figures["spoiled"]
        caught = report.figures["quarantined"] > 0
        good = caught and jobs <= 3000 and (every > 1 or spoiled == 0) and not report.violation
        text = f"{spoiled:.0f} wrong packets on the wire, quarantined after {jobs} of its jobs"
        yield f"verify = {name}", (text if caught else "not caught") + _broken(report), good


#: Changes of the Plan that are timed.
CHANGES: Final = 60


def large() -> Iterator[Line]:
    """64 members, 256 engines, 100,000 SAs: what a Plan change takes, in real time."""
    begun = time.perf_counter()
    run_ = Run(files.load("large"))
    yield "made", f"{run_.host.sas} SAs in {time.perf_counter() - begun:.1f} s", None
    begun = time.perf_counter()
    report = run_.through()
    steps = int(report.figures["steps"])
    text = f"{time.perf_counter() - begun:.1f} s for {steps} steps{_broken(report)}"
    yield "run", text, report.violation is None
    # One member's link, again and again: a single change says little on a machine with others.
    (number,) = run_.host.states
    member = run_.host.states[number].members[-1].id
    run_.plan_seconds.clear()
    for turn in range(CHANGES):
        event = LinkChanged(member=member, up=turn % 2 == 1, epoch=1_000 + turn)
        run_.decide(number, event)
    taken = sorted(seconds * 1e3 for seconds in run_.plan_seconds)
    text = f"median {statistics.median(taken):.2f} ms, worst {taken[-1]:.2f} of {len(taken)}"
    good = len(taken) == CHANGES and taken[-1] <= 5
    yield "a Plan change, from event to acknowledgement", text, good


FIGURES: Final[Mapping[str, Callable[[], Iterator[Line]]]] = MappingProxyType(
    {
        "pool": pool,
        "rivals": rivals,
        "backup": backup,
        "loopback": loopback,
        "plain": plain,
        "swap": swap,
        "faults": faults,
        "liar": liar,
        "large": large,
    }
)


def main(names: Sequence[str]) -> int:
    """Print figures, all or some; 1 if one is not as it must be."""
    failed = False
    for name in names or FIGURES:
        figure = FIGURES.get(name)
        if figure is None:
            print(f"{name} is no figure; there are {', '.join(FIGURES)}")
            return 2
        print(f"{name}: {(figure.__doc__ or '').splitlines()[0]}")
        missed = False
        for what, value, good in figure():
            missed |= good is False
            mark = {True: "ok", False: "MISSED", None: ""}[good]
            print(f"  {what:44} {value}  {mark}", flush=True)
        if missed:
            # Every seed of a figure is its own, so its name says it all.
            print(f"  again: esprit simulate --figures {name}", flush=True)
        failed |= missed
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Random scenarios: short, seeded, in pairs of mode, delivery, software and verify.

With what the first team begins, any nine seeds in a row hold each pair of two of the last three
settings, eighteen each pair with the mode. What a seed makes is a value: a failing one is run again
by its number.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Final

from esprit.model.spec import EngineSpec
from esprit.model.words import Delivery, ModeName, Software
from esprit.sim import lots
from esprit.sim.report import Report
from esprit.sim.run import run
from esprit.sim.scenario import Fault, Scenario, Team, Traffic

MODES: Final[tuple[ModeName, ...]] = ("active-backup", "balance-alb")
DELIVERY: Final[tuple[Delivery, ...]] = ("return", "direct", "auto")
SOFTWARE: Final[tuple[Software, ...]] = ("always", "overflow", "never")
VERIFY: Final = (0, 1, 10)

#: Traffic of a scenario, in nanoseconds: some hundred packets, and time for a hung engine (2 ms) to
#: be found and for decisions (1 ms) to follow.
SHORT: Final = (3_000_000, 8_000_000)


def scenario(seed: int) -> Scenario:
    """The random scenario of that number."""
    lot = lots.lot(seed, "scenario")
    third, pair = seed % 9 // 3, seed % 3
    settings: dict[str, object] = {
        "mode": MODES[seed // 9 % 2],
        "delivery": DELIVERY[third],
        "software": SOFTWARE[pair],
        "failback": lot.choice(("never", "better")),
    }
    duration = lot.randrange(*SHORT)
    members = tuple(lots.member(lot, number) for number in range(1, lot.randint(2, 5)))
    engines = [lots.asic(lot, f"card{number}") for number in range(lot.randint(0, 2))]
    if lot.random() < 0.5:
        engines.append(EngineSpec(name="cores", kind="cpu", threads=lot.randint(1, 2)))
    bundle = settings["mode"] == "balance-alb" and lot.random() < 0.7
    team = Team(
        name="team0",
        members=members,
        settings=settings,
        verify_every=VERIFY[(third + pair) % 3],
        sas=lots.sas(lot, bundle=bundle),
    )
    names = [m.engine.name for m in members if m.engine is not None]
    names += [engine.name for engine in engines]
    base = Scenario(
        name=f"fuzz-{seed}",
        source=f"random scenario {seed}",
        seed=seed,
        duration=duration,
        control_ns=lot.choice((200_000, 1_000_000, 3_000_000)),
        turn_ns=lot.choice((1_000, 2_000, 10_000)),
        readmit_ns=lot.choice((None, 1_000_000, 4_000_000)),
        teams=(team,),
        engines=tuple(engines),
        traffic=tuple(lots.traffic(lot, number) for number in range(lot.randint(1, 3))),
        faults=tuple(lots.faults(lot, duration, [m.interface for m in members], names)),
        applications=tuple(lots.applications(seed)),
        job_rows=0,
    )
    for more in (_second_team, _joining, _set, _probed, _changed, _other_traffic):
        base = more(base)
    return base


# Each adds one kind of thing to some scenarios, by a lot of its own.


def _with_faults(scenario: Scenario, faults: Iterable[Fault]) -> Scenario:
    return replace(scenario, faults=(*scenario.faults, *faults))


def _with_team(scenario: Scenario, team: Team) -> Scenario:
    """With this team in the place of the first."""
    return replace(scenario, teams=(team, *scenario.teams[1:]))


def _second_team(scenario: Scenario) -> Scenario:
    """One in five: two teams share the pool, and one's sources are dealt to both."""
    lot = lots.lot(scenario.seed, "second team")
    if lot.random() >= 0.2:
        return scenario
    members = tuple(lots.member(lot, number) for number in range(11, lot.randint(12, 14)))
    mode = lot.choice(MODES)
    settings: dict[str, object] = {
        "mode": mode,
        "delivery": lot.choice(DELIVERY),
        "software": lot.choice(SOFTWARE),
    }
    team = Team(
        name="team1",
        members=members,
        settings=settings,
        verify_every=lot.choice(VERIFY),
        sas=lots.sas(lot, bundle=mode == "balance-alb"),
    )
    names = [m.interface for m in members]
    engines = [m.engine.name for m in members if m.engine is not None]
    faults = lots.faults(lot, scenario.duration, names, engines)
    first, *rest = scenario.traffic
    dealt = [replace(one, team=lot.choice(("team0", "team1"))) for one in rest]
    found = replace(scenario, teams=(*scenario.teams, team), traffic=(first, *dealt))
    if not rest:
        found = replace(found, traffic=(first, replace(lots.traffic(lot, 1), team="team1")))
    return _with_faults(found, faults)


def _joining(scenario: Scenario) -> Scenario:
    """What was removed or has vanished joins again; in one of three, others join too."""
    lot = lots.lot(scenario.seed, "joining")
    found = _with_faults(scenario, lots.returns(lot, scenario.duration, scenario.faults))
    if lot.random() < 0.2:
        team = found.teams[0]
        names = [m.interface for m in team.members]
        new = lots.member(lot, len(names) + 1, joins=True)
        found = _with_team(found, replace(team, members=(*team.members, new)))
        found = _with_faults(found, [lots.joins(lot, found.duration, names, new.interface)])
    if lot.random() < 0.2:
        engine = lots.asic(lot, "late-card")
        at = lot.randrange(found.duration)
        found = _with_faults(found, [Fault(at=at, kind="add", engine=engine.name)])
        joining = frozenset((engine.name,))
        found = replace(found, engines=(*found.engines, engine), joining=joining)
    return found


def _set(scenario: Scenario) -> Scenario:
    """One in two: what an operator may set, load that is measured, SAs of unlike weights."""
    lot = lots.lot(scenario.seed, "settings")
    if lot.random() >= 0.5:
        return scenario
    team = scenario.teams[0]
    names = [m.interface for m in team.members]
    settings = {**team.settings, **lots.settings(lot, names)}
    weights = lot.choice(((1,), (1, 3), (100, 1)))
    team = replace(team, settings=settings, sas=replace(team.sas, weights=weights))
    return replace(
        _with_team(scenario, team),
        measure_ns=lot.choice((400_000, 2_000_000)),
        announce=lot.random() < 0.3,
    )


def _probed(scenario: Scenario) -> Scenario:
    """One in three: members are probed, and one goes deaf."""
    lot = lots.lot(scenario.seed, "probes")
    if lot.random() >= 1 / 3:
        return scenario
    team = scenario.teams[0]
    settings = {**team.settings, "probe": lots.probe(lot)}
    names = [m.interface for m in team.members]
    faults = lots.deaf(lot, scenario.duration, names)
    return _with_faults(_with_team(scenario, replace(team, settings=settings)), faults)


def _changed(scenario: Scenario) -> Scenario:
    """One in three: an operator changes a running team."""
    lot = lots.lot(scenario.seed, "changes")
    if lot.random() >= 1 / 3:
        return scenario
    return _with_faults(scenario, lots.changes(lot, scenario.duration, lot.choice(scenario.teams)))


def _other_traffic(scenario: Scenario) -> Scenario:
    """One source in six is a capture's; inbound ones come to the team, to members, or as told."""
    lot = lots.lot(scenario.seed, "traffic")

    def drawn(one: Traffic) -> Traffic:
        team = next(team for team in scenario.teams if team.name == one.team)
        names = tuple(m.interface for m in team.members)
        if lot.random() < 1 / 6:
            packets = lots.recording(lot, scenario.duration)
            one = replace(one, pattern="pcap", packets=packets, burst=1)
        if one.direction == "in" and lot.random() < 0.5:
            one = replace(one, via=names)
        elif one.direction == "in" and lot.random() < 0.5:
            one = replace(one, asks=True)
        return one

    return replace(scenario, traffic=tuple(map(drawn, scenario.traffic)))


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

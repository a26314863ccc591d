"""Thousands of short random scenarios. A failing one is run again by its number."""

import os
import sys
from typing import get_args

import pytest

from esprit import sim
from esprit.cli import main
from esprit.model.state import SETTINGS
from esprit.sim import chance
from esprit.sim.report import Report, Violation
from esprit.sim.scenario import FaultKind, PatternName, Scenario

#: `make test` runs thousands; `make soak` goes on from there.
SEEDS = int(os.environ.get("ESPRIT_SEEDS", "200"))


def test_no_random_scenario_breaks_a_rule() -> None:
    processes = len(os.sched_getaffinity(0))
    broken = sim.fuzz(range(SEEDS), processes=processes)
    assert not broken, "\n".join(broken)


def test_every_kind_of_thing_is_in_some_scenario() -> None:
    scenarios = [chance.scenario(seed) for seed in range(100)]
    faults = {fault.kind for one in scenarios for fault in one.faults}
    assert faults == set(get_args(FaultKind))
    teams = [team for one in scenarios for team in one.teams]
    first = [one.teams[0] for one in scenarios]
    traffic = [source for one in scenarios for source in one.traffic]
    assert {len(one.teams) for one in scenarios} == {1, 2}
    assert {source.team for source in traffic} == {team.name for team in teams}
    assert {source.pattern for source in traffic} == set(get_args(PatternName))
    for some in (
        [any(member.joins for member in team.members) for team in teams],
        ["probe" in team.settings for team in first],
        [team.settings.get("receive") == "balance" for team in first],
        [team.sas.weights != (1,) for team in first],
        [bool(one.joining) for one in scenarios],
        [bool(one.applications) for one in scenarios],
        [one.announce for one in scenarios],
        [bool(source.via) for source in traffic],
        [source.asks for source in traffic],
    ):
        assert set(some) == {False, True}
    keys = {key for one in scenarios for fault in one.faults for key in fault.settings}
    assert keys == set(SETTINGS) - {"mode", "software"}


def test_one_that_breaks_a_rule_says_the_command_that_runs_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[Scenario] = []

    def breaks(scenario: Scenario, **options: object) -> Report:
        ran.append(scenario)
        found = Violation(seed=scenario.seed, time=5, rule="order", detail="came late")
        return Report(
            scenario=scenario.name, seed=scenario.seed, figures={}, violation=found, unmet=(),
            jobs=(), events=(), engines={},
        )  # fmt: skip

    def raises(scenario: Scenario) -> Report:
        raise ZeroDivisionError(scenario.seed)

    monkeypatch.setattr(chance, "run", breaks)
    monkeypatch.setattr(sim, "run", breaks)
    (line,) = sim.fuzz([7])
    said, _, command = line.partition("; again: ")
    assert said == "seed 7, 5 ns, order: came late"
    # The command runs that scenario, and says itself once more.
    monkeypatch.setattr(sys, "argv", command.split())
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    assert ran[0] == ran[1] == chance.scenario(7)
    assert f"  again: {command}\n" in capsys.readouterr().out
    monkeypatch.setattr(chance, "run", raises)
    assert sim.fuzz([7]) == (f"seed 7: ZeroDivisionError: 7; again: {command}",)

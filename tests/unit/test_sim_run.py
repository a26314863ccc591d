"""Runs in virtual time: what the rules say, seen by a peer; the same seed gives the same bytes."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from esprit import sim
from esprit.sim import chance
from esprit.sim.rivals import RIVALS
from esprit.sim.run import Run

#: All but the one of 100,000 SAs, which has a figure of its own.
SCENARIOS = [path for path in sim.shipped() if path.stem != "large"]

#: What is broken on purpose, and the rule whose check has to see it.
SABOTAGE = [
    ("nonce", "nonce"),
    ("plaintext", "plaintext"),
    ("order", "order"),
    ("duplicate", "duplicate"),
    ("bytes", "bytes"),
    ("conservation", "conservation"),
    ("bounded", "bounded"),
    ("queue", "bounded"),
]


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_shipped_scenario_keeps_every_rule_and_meets_what_it_expects(path: Path) -> None:
    report = sim.run(path)
    assert report.violation is None
    assert report.unmet == ()


@pytest.mark.parametrize(("what", "rule"), SABOTAGE)
def test_a_rule_that_is_broken_is_seen(what: str, rule: str) -> None:
    scenario = sim.load("link-lost")
    # Bursts, so that frames are handed over together and can change places.
    scenario = replace(scenario, traffic=tuple(replace(t, burst=8) for t in scenario.traffic))
    broken = Run(scenario, sabotage={what: 20}).through()
    assert broken.violation is not None
    assert broken.violation.rule == rule
    assert broken.violation.seed == scenario.seed
    # While traffic runs: what is lost is missed at once, a buffer in the next lull.
    assert broken.violation.time < scenario.duration
    # The same run breaks it again, at the same moment and with the same words.
    assert Run(scenario, sabotage={what: 20}).through().violation == broken.violation


def test_an_engine_that_stands_idle_while_a_job_waits_is_seen() -> None:
    broken = Run(sim.load("one-engine"), sabotage={"work-conservation": 20}).through()
    assert broken.violation is not None
    assert broken.violation.rule == "work-conservation"


def test_a_job_that_comes_out_otherwise_when_it_is_done_again_is_seen() -> None:
    base = sim.load("link-lost")
    late = [
        sim.Fault(at=5_000_000, kind="hang", engine="eth1-asic"),
        sim.Fault(at=7_500_000, kind="heal", engine="eth1-asic"),
    ]
    scenario = sim.Scenario(
        name="redone",
        teams=base.teams,
        traffic=base.traffic,
        faults=tuple(late),
        duration=12_000_000,
    )
    assert Run(scenario).through().violation is None
    broken = Run(scenario, sabotage={"redone": 0}).through().violation
    assert broken is not None
    assert broken.rule in ("redone", "bytes")


def test_applications_get_back_what_the_cipher_makes_of_it_whoever_dies() -> None:
    base = sim.load("loop-back")
    faults = (
        sim.Fault(at=9_000_000, kind="die", engine="card0"),
        sim.Fault(at=12_000_000, kind="hang", engine="card1"),
    )
    report = sim.run(replace(base, faults=faults, readmit_ns=4_000_000))
    assert report.violation is None
    for name in ("sealing", "opening"):
        assert report.figures[f"{name}.asked"] == report.figures[f"{name}.done"] > 0
    assert report.figures["redone"] > 0


def test_a_wrong_byte_for_an_application_is_seen_and_no_engine_is_said() -> None:
    base = sim.load("loop-back")
    # What a liar opens is looked at now and then only; the reports say how much got through.
    liar = sim.Fault(at=9_000_000, kind="wrong", engine="card0", value=1)
    spoiled = sim.run(replace(base, faults=(liar,))).figures
    assert spoiled["spoiled_messages"] > 0
    assert spoiled["quarantined"] == 1
    none = replace(
        base, engines=(), teams=(replace(base.teams[0], members=(sim.Member(interface="eth1"),)),)
    )
    alone = sim.run(none)
    assert alone.violation is None
    assert alone.figures["sealing.no_engine"] > 0
    assert alone.figures["sealing.done"] == 0


def test_loads_are_the_snapshot_s_own_without_a_word_of_sas() -> None:
    run = Run(sim.load("load-moves"))
    run.through()
    loads, seen = run.host.native.loads(), run.host.native.snapshot()
    assert loads["time"] == seen["time"]
    assert set(loads) == {"time", "teams", "members"}
    for number, team in loads["teams"].items():
        assert team["shares"] == seen["teams"][number]["shares"]
        assert sum(team["shares"]) > 0
    assert loads["members"] == {
        number: {key: one[key] for key in ("team", "queued", "foreign")}
        for number, one in seen["members"].items()
    }


def test_applications_get_what_is_idle_and_members_packets_wait_for_one_task() -> None:
    base = sim.load("loop-back-balance")
    alone = sim.run(replace(base, applications=())).figures
    beside = sim.run(base)
    assert beside.ok
    idle = 1 - alone["throughput_share"]
    assert beside.figures["applications.throughput_share"] >= 0.95 * idle
    assert beside.figures["traffic.p99_ns"] <= alone["traffic.p99_ns"] + 40_000


def test_without_its_load_being_measured_a_team_does_not_balance() -> None:
    base = sim.load("load-moves")
    blind = sim.run(replace(base, measure_ns=base.duration)).figures
    assert blind["shares-moved"] == 0
    assert blind["member.eth1.share"] < 0.2


def test_ten_runs_have_one_digest_whatever_the_hashes_are() -> None:
    program = (
        "from esprit.sim import chance, run\n"
        "print(run('link-lost').digest(), run(chance.scenario(41)).digest())"
    )
    digests = set()
    for turn in range(10):
        environment = {**os.environ, "PYTHONHASHSEED": str(turn)}
        found = subprocess.run(
            [sys.executable, "-c", program], env=environment, check=True, capture_output=True
        )
        digests.add(found.stdout)
    assert len(digests) == 1
    assert len(digests.pop().split()) == 2


def test_another_seed_is_another_run() -> None:
    assert sim.run("unlike", seed=1).digest() != sim.run("unlike", seed=2).digest()


def test_the_worker_fails_over_before_anybody_decides() -> None:
    events = sim.run("link-lost").events
    took, decided = (
        next(int(str(row["time"])) for row in events if row["kind"] == kind and row["time"])
        for kind in ("takeover", "active")
    )
    assert decided - took == sim.load("link-lost").control_ns


@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_keeps_the_rules(name: str) -> None:
    report = sim.run("unlike", placement=RIVALS[name](1))
    assert report.violation is None


def test_a_placement_is_a_function_of_jobs_and_engines() -> None:
    seen: list[tuple[sim.Job, Sequence[sim.Candidate]]] = []

    def last(job: sim.Job, candidates: Sequence[sim.Candidate]) -> int:
        seen.append((job, candidates))
        return candidates[-1].engine

    report = sim.run("unlike", placement=last)
    job, candidates = seen[0]
    assert job.direction == "seal"
    assert job.bytes >= 1400
    assert {one.engine for one in candidates} <= set(report.engines)
    assert all(one.cost_ns >= one.service_ns for one in candidates)


def test_what_a_placement_raises_ends_the_run() -> None:
    def fails(job: sim.Job, candidates: Sequence[sim.Candidate]) -> int:
        raise ZeroDivisionError(job.packets)

    with pytest.raises(ZeroDivisionError):
        sim.run("unlike", placement=fails)


def test_a_report_is_a_folder(tmp_path: Path) -> None:
    report = sim.run("link-lost")
    missing = report.write(tmp_path)
    rows = (tmp_path / "jobs.csv").read_text().splitlines()
    assert len(rows) == len(report.jobs) + 1
    assert len((tmp_path / "events.jsonl").read_text().splitlines()) == len(report.events)
    assert (tmp_path / "summary.json").exists()
    assert (tmp_path / "jobs.png").exists() != any("matplotlib" in line for line in missing)


def test_any_nine_seeds_hold_all_pairs() -> None:
    def settings(seed: int) -> tuple[object, object, object]:
        team = chance.scenario(seed).teams[0]
        return team.settings["delivery"], team.settings["software"], team.verify_every

    nine = [settings(seed) for seed in range(17, 26)]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert len({(one[a], one[b]) for one in nine}) == 9

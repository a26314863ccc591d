"""Explanations by name: why a job is returned, and what the last drop would have cost."""

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.unit.control_bench import TEXT, Bench

from esprit.cli import explain as shown
from esprit.control.explain import Explaining, flow
from esprit.control.team import RunningTeam
from esprit.model.state import MemberState

if TYPE_CHECKING:
    from esprit._native import Candidate, Drop

pytestmark = pytest.mark.anyio

ASKED = flow({"src": "10.0.0.1", "dst": "10.1.0.2", "proto": "tcp", "dport": "80"})
BOTH = TEXT.replace("[team]", '[team]\nmode = "balance-alb"\ndelivery = "auto"')


def returned(team: RunningTeam) -> str:
    return Explaining(team).flow(ASKED)["returned"]


def engine(team: RunningTeam, name: str) -> int:
    return next(one.id for one in team.host.engines() if one.spec.name == name)


def change(team: RunningTeam, name: str, **changes: object) -> None:
    """What is known of a member, with these differences."""
    member = team.members[name].id

    def known(one: MemberState) -> MemberState:
        return replace(one, **changes) if one.id == member else one  # type: ignore[arg-type]

    team.state = replace(team.state, members=tuple(known(one) for one in team.state.members))


async def test_a_job_that_is_returned_although_it_need_not_be_says_why(bench: Bench) -> None:
    team = await bench.started(BOTH)
    eth1, eth2 = team.members["eth1"].id, team.members["eth2"].id
    bench.plane.placed = {"engine": engine(team, "eth1-asic"), "member": eth2}
    change(team, "eth1", foreign=None, foreign_mac=None)
    assert returned(team) == "whether eth1 can send another's address has not been tried yet"
    change(team, "eth1", foreign=False)
    assert returned(team) == "eth1 cannot send another's address"
    change(team, "eth1", foreign=True)
    assert returned(team) == "it costs less", "auto weighs them, job by job"
    change(team, "eth1", foreign_mac=False)
    assert returned(team) == "foreign_mac = false: eth1 is not to send another's address"
    change(team, "eth1", link="down")
    assert returned(team) == "eth1 cannot carry traffic: down"
    bench.plane.placed["member"] = eth1
    assert returned(team) == "the engine's member is the one that asked"
    bench.plane.placed["engine"] = engine(team, "cores")
    assert returned(team) == "the engine has no member of this team to send by"


async def test_a_waiting_member_delivers_nothing(bench: Bench) -> None:
    team = await bench.started(TEXT.replace("[team]", '[team]\ndelivery = "direct"'))
    await team.change({"failback": "better", "preferred": "eth2"})
    bench.plane.placed = {"engine": engine(team, "eth1-asic")}
    assert returned(team) == "eth1 waits and does not carry traffic"


async def test_where_return_is_what_was_set_there_is_nothing_to_say(bench: Bench) -> None:
    team = await bench.started()
    assert returned(team) == ""


async def test_the_last_drop_shows_the_engine_and_what_each_would_have_cost(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    team = await bench.started()
    full: Candidate = {
        "engine": engine(team, "eth1-asic"),
        "tier": 0,
        "class": "primary",
        "backlog_ns": 5_000_000,
        "service_ns": 1_200,
        "key_ns": 0,
        "latency_ns": 20_000,
        "transfer_ns": 0,
        "bias_ns": 0,
        "cost_ns": 5_021_200,
        "verdict": "full",
    }
    unfit: Candidate = {**full, "engine": engine(team, "cores"), "tier": 255, "verdict": "hung"}
    drop: Drop = {
        "time": 1_500_000_000,
        "reason": "engine-full",
        "direction": "out",
        "src": "10.0.0.1",
        "dst": "10.1.0.2",
        "protocol": 6,
        "sport": 1234,
        "dport": 80,
        "policy": None,
        "sa": None,
        "member": team.members["eth1"].id,
        "engine": engine(team, "eth1-asic"),
        "packets": 44,
        "candidates": [full, unfit],
    }
    bench.plane.drop = drop
    found = Explaining(team).last_drop()
    assert (found["engine"], found["member"]) == ("eth1-asic", "eth1")
    assert [(one["engine"], one["cost_ns"], one["verdict"]) for one in found["candidates"]] == [
        ("eth1-asic", 5_021_200, "full"),
        ("cores", 5_021_200, "hung"),
    ]
    shown.drop(found)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tcp:10.0.0.1:1234->10.1.0.2:80: outbound, engine-full")
    assert "    engine eth1-asic" in lines
    assert lines[-2].split()[-3:] == ["0.0", "5021.2", "full"]
    assert lines[-1].split()[:3] == ["cores", "primary", "-"]

    # What nobody read has no addresses.
    bench.plane.drop = {**drop, "reason": "no-memory", "src": "::", "candidates": []}
    shown.drop(Explaining(team).last_drop())
    assert capsys.readouterr().out.startswith("a frame: outbound, no-memory")

"""Engines that join and leave a running team: nobody's, and a member's own."""

import time

import pytest
from tests.unit.control_bench import Bench

from esprit.control.team import RunningTeam
from esprit.control.watch import Change, ChangeKind
from esprit.errors import ConfigInvalid, Conflict, DataPlaneError, EngineRefused, NotFound
from esprit.model.event import PortLost

pytestmark = pytest.mark.anyio

OWN = {"name": "fast", "kind": "asic", "rate": "25G"}


def engines(bench: Bench) -> list[str]:
    return [one.spec.name for one in bench.host.engines()]


def grant(bench: Bench, team: RunningTeam, name: str) -> dict[str, object] | None:
    number = bench.host.engine(name).id
    found = bench.plane.plans[team.id]["grants"]["engines"]
    return next((dict(one) for one in found if one["engine"] == number), None)


def shown(team: RunningTeam, interface: str) -> str | None:
    (found,) = [one for one in team.view().members() if one["ifname"] == interface]
    return found["engine"]


async def test_an_engine_of_no_member_is_tested_and_granted_at_once(bench: Bench) -> None:
    team = await bench.started()
    bench.plane.calls.clear()
    await team.add_engine({"name": "card", "kind": "asic", "rate": "40G"})
    assert bench.plane.calls.index("engine_add") < bench.plane.calls.index("publish")
    given = grant(bench, team, "card")
    assert given is not None
    assert (given["member"], given["primary"]) == (None, None)
    assert given["secondary"] is not None
    assert bench.said("engine-added") == [{"engine": "card", "member": None}]
    bench.plane.calls.clear()
    # The fake data plane asserts that no Plan names what is removed.
    await team.remove_engine("card")
    assert bench.plane.calls.index("publish") < bench.plane.calls.index("engine_remove")
    assert engines(bench) == ["eth1-asic", "cores"]


async def test_a_member_gets_its_own_engine_back(bench: Bench) -> None:
    team = await bench.started()
    eth1 = team.members["eth1"].id
    await team.remove_engine("eth1-asic")
    assert shown(team, "eth1") is None
    # It may leave out its name, as in the config.
    await team.add_engine({"kind": "asic", "rate": "10G"}, member="eth1")
    assert shown(team, "eth1") == "eth1-asic"
    given = grant(bench, team, "eth1-asic")
    assert given is not None
    assert given["member"] == eth1
    assert given["primary"] is not None
    assert bench.plane.engines[bench.host.engine("eth1-asic").id]["member"] == eth1
    assert bench.said("engine-added") == [{"engine": "eth1-asic", "member": "eth1"}]
    await team.remove_member("eth1")
    assert engines(bench) == ["cores"], "it goes with its member"
    assert await team.stop() == []


async def test_an_inline_engine_needs_the_member_whose_traffic_passes(bench: Bench) -> None:
    team = await bench.started()
    table = {"name": "wire", "kind": "asic", "lookaside": False, "inline": True}
    with pytest.raises(ConfigInvalid, match="no interface"):
        await team.add_engine(table)
    await team.add_engine(table, member="eth2")
    assert shown(team, "eth2") == "wire"


async def test_what_cannot_be_a_members_own_engine(bench: Bench) -> None:
    team = await bench.started()
    plan, calls = bench.plane.plans[team.id], len(bench.plane.calls)
    with pytest.raises(NotFound, match="eth9"):
        await team.add_engine(OWN, member="eth9")
    with pytest.raises(Conflict, match=r"eth1-asic already; .*engine remove eth1-asic"):
        await team.add_engine(OWN, member="eth1")
    with pytest.raises(ConfigInvalid, match="no device of the member"):
        await team.add_engine({"name": "x", "kind": "cpu"}, member="eth2")
    assert bench.plane.calls[calls:] == []
    bench.plane.refuse.add("fast")
    with pytest.raises(EngineRefused, match="fast"):
        await team.add_engine(OWN, member="eth2")
    bench.plane.refuse.clear()
    assert shown(team, "eth2") is None
    assert bench.plane.plans[team.id] == plan
    await team.add_engine(OWN, member="eth2")
    with pytest.raises(Conflict, match="fast"):
        await team.add_engine(OWN)


async def test_an_engine_that_one_teams_plan_cannot_take_is_in_no_pool(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await bench.started()
    second = await bench.started('[team]\nname = "team1"\n[[member]]\ninterface = "eth3"')
    publish = bench.plane.publish

    def refusing(plan: object) -> int:
        assert isinstance(plan, dict)
        number = max(bench.plane.engines)
        named = [one["engine"] for one in plan["grants"]["engines"]]
        if plan["team"] == second.id and number in named:
            raise DataPlaneError("publish was refused")
        return publish(plan)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.plane, "publish", refusing)
    with pytest.raises(DataPlaneError):
        await first.add_engine({"name": "card", "kind": "asic"})
    assert engines(bench) == ["eth1-asic", "cores"]
    assert len(bench.plane.engines) == 2
    assert all(one.name != "card" for team in (first, second) for one in team.state.engines)


@pytest.mark.parametrize("removed", [False, True])
async def test_a_nic_that_comes_back_has_the_engine_that_it_left_with(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, removed: bool
) -> None:
    team = await bench.started()
    await team.remove_engine("eth1-asic")
    if not removed:
        await team.add_engine(OWN, member="eth1")
    number = team.members["eth1"].id
    bench.system.unplug("eth1")
    await team.upkeep.happened(PortLost(member=number, epoch=bench.plane.link_epoch + 1))
    await team.upkeep.changed([Change(kind=ChangeKind.LINK)])
    due = team.upkeep.next_due()
    assert due is not None
    monkeypatch.setattr(time, "monotonic_ns", lambda: due)
    await team.upkeep.due()
    assert engines(bench) == ["cores"]
    bench.system.add_link("eth1", index=90)
    await team.upkeep.changed([Change(kind=ChangeKind.LINK)])
    assert shown(team, "eth1") == (None if removed else "fast")


async def test_an_engine_that_another_team_removed_does_not_hold_its_member(bench: Bench) -> None:
    first = await bench.started()
    second = await bench.started('[team]\nname = "team1"\n[[member]]\ninterface = "eth3"')
    await second.remove_engine("eth1-asic")
    assert shown(first, "eth1") is None
    await first.remove_member("eth1")
    assert list(first.members) == ["eth2"]

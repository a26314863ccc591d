"""A running team over a data plane and a host in memory: order, rollback, decisions, numbers."""

import pytest
from tests.unit.control_bench import TEXT, Bench

from esprit import config
from esprit.control.bringup import own_mac
from esprit.control.host import Keys
from esprit.control.watch import Change, ChangeKind
from esprit.errors import (
    BadRequest,
    Conflict,
    DataPlaneError,
    EngineRefused,
    InterfaceMissing,
    KeyInUse,
    NotFound,
    NoVerifiedEngine,
    SaError,
    SpiInUse,
)
from esprit.model.event import (
    EngineReported,
    EventsLost,
    LinkChanged,
    NumbersWanted,
    PortLost,
    TookOver,
)

pytestmark = pytest.mark.anyio

OUT = {
    "direction": "out",
    "spi": 5000,
    "src": "10.0.0.1",
    "dst": "10.0.0.2",
    "encap": "udp",
    "key": "200102030405060708090a0b0c0d0e0f10111213",
}
IN = {**OUT, "direction": "in", "src": "10.0.0.2", "dst": "10.0.0.1", "key": "30" * 20}


async def test_doors_are_open_only_when_everything_stands(bench: Bench) -> None:
    await bench.started()
    calls, log = bench.plane.calls, bench.system.log
    assert calls.index("policies_set") < calls.index("sa_add") < calls.index("publish")
    assert log.index("shut eth1") < log.index("up eth1")
    # The virtual NIC goes up last, before only its addresses and routes.
    assert log.index("up team0") > max(log.index("up eth1"), log.index("up eth2"))
    assert log.index("up team0") < log.index("address 10.0.0.1/24") < log.index("route 10.1.0.0/16")


async def test_stopping_leaves_nothing(bench: Bench) -> None:
    before = bench.system.state()
    team = await bench.started()
    assert bench.system.state() != before
    assert await team.stop() == []
    assert bench.system.state() == before
    assert bench.host.journal.teams == {}
    assert bench.host.taken == {}
    assert not bench.plane.teams
    assert not bench.plane.engines
    assert not bench.plane.sas
    # Everything can be had again: keys, SPIs, names, interfaces.
    again = await bench.started()
    assert await again.stop() == []


@pytest.mark.parametrize(
    "refused",
    [
        "team_add",
        "member_add",
        "engine_add",
        "eth1-asic",
        "cores",
        "sa_add",
        "policies_set",
        "publish",
    ],
)
async def test_a_data_plane_that_refuses_leaves_nothing(bench: Bench, refused: str) -> None:
    before = bench.system.state()
    team = bench.team()
    bench.plane.refuse.add(refused)
    with pytest.raises((DataPlaneError, EngineRefused)):
        await team.start(force=False)
    bench.plane.refuse.clear()
    assert bench.system.state() == before
    assert bench.host.journal.teams == {}
    assert bench.host.taken == {}
    assert list(bench.host.engines()) == []
    assert await (await bench.started()).stop() == []


@pytest.mark.parametrize("failing", range(1, 13))
async def test_a_system_that_refuses_leaves_nothing(bench: Bench, failing: int) -> None:
    before = bench.system.state()
    bench.system.fails_at = failing
    with pytest.raises(Exception, match="Operation not permitted"):
        await bench.team().start(force=False)
    bench.system.fails_at = None
    assert bench.system.state() == before
    assert bench.host.journal.teams == {}
    assert await (await bench.started()).stop() == []


async def test_a_member_that_is_missing_is_found_before_anything_is_done(bench: Bench) -> None:
    bench.system.unplug("eth2")
    with pytest.raises(InterfaceMissing, match="eth2"):
        await bench.team().start(force=False)
    assert bench.plane.calls == []
    assert bench.system.log == []


async def test_a_route_into_a_tunnel_goes_by_the_outer_next_hop(bench: Bench) -> None:
    await bench.started(TEXT.replace('via = "10.0.0.2"\n', ""))
    (route,) = bench.system.routing
    assert (str(route.destination), str(route.gateway)) == ("10.1.0.0/16", "10.0.0.2")


async def test_numbers_are_on_disk_before_the_data_plane_has_them(bench: Bench) -> None:
    team = await bench.started()
    running = next(one for one in team.securing.sas if one.outbound)
    spec = bench.plane.sas[running.id]
    assert (spec["seq"], spec["granted"]) == (1, running.mark.value)
    bench.plane.next_numbers[running.id] = 3_000_000
    await team.upkeep.happened(NumbersWanted(sa=running.id, next=3_000_000))
    assert bench.plane.grants[running.id] == running.mark.value > 3_000_000 + (1 << 21)


async def test_a_killed_process_goes_on_above_its_mark(bench: Bench) -> None:
    team = await bench.started()
    running = next(one for one in team.securing.sas if one.outbound)
    granted = bench.plane.grants[running.id]
    running.mark.release()  # killed: the kernel drops the lock, nothing is settled
    bench.host.keys = Keys(bench.host.keys.directory)
    for one in team.securing.sas:
        one.mark.release()
    running = await team.securing._install(config.sa({**OUT, "name": "again", "spi": 4096,
        "key": "000102030405060708090a0b0c0d0e0f10111213"}))  # fmt: skip
    assert bench.plane.sas[running.id]["seq"] == granted


async def test_a_takeover_is_confirmed_by_a_plan_that_has_seen_it(bench: Bench) -> None:
    team = await bench.started()
    eth1, eth2 = team.members["eth1"].id, team.members["eth2"].id
    assert bench.plane.plans[team.id]["transmit"] == [eth1]
    await team.upkeep.happened(LinkChanged(member=eth1, up=False, epoch=1))
    await team.upkeep.happened(TookOver(team=team.id, lost=eth1, heir=eth2, epoch=1))
    plan = bench.plane.plans[team.id]
    assert (plan["transmit"], plan["receiver"], plan["latch"]) == ([eth2], eth2, 1)
    await team.upkeep.happened(LinkChanged(member=eth1, up=True, epoch=2))
    plan = bench.plane.plans[team.id]
    assert (plan["transmit"], plan["latch"]) == ([eth2], 2)  # failback = "never"
    told = [event for event in bench.events if event["kind"] == "takeover"]
    assert [(event["from"], event["to"]) for event in told] == [("eth1", "eth2")]


async def test_lost_events_cost_a_look(bench: Bench) -> None:
    team = await bench.started()
    eth1, eth2 = team.members["eth1"].id, team.members["eth2"].id
    bench.plane.up[eth1] = False
    bench.plane.link_epoch = 7
    await team.upkeep.happened(EventsLost(count=3))
    plan = bench.plane.plans[team.id]
    assert (plan["transmit"], plan["latch"]) == ([eth2], 7)


async def test_a_member_is_out_of_the_plan_before_it_is_taken_apart(bench: Bench) -> None:
    before = bench.system.state()
    team = await bench.started()
    # The fake data plane asserts that no Plan names what is removed.
    await team.remove_member("eth1")
    assert "eth1" not in bench.system.shut
    assert [one.spec.name for one in bench.host.engines()] == ["cores"]
    await team.add_member({"interface": "eth3", "priority": 5}, force=False)
    assert "eth3" in bench.system.shut
    assert await team.stop() == []
    assert bench.system.state() == before


async def test_a_member_that_cannot_be_added_changes_nothing(bench: Bench) -> None:
    team = await bench.started()
    before, plan = bench.system.state(), bench.plane.plans[team.id]
    for refused, table in (
        ("member_add", {"interface": "eth3"}),
        ("engine_add", {"interface": "eth3", "engine": {"kind": "asic"}}),
    ):
        bench.plane.refuse.add(refused)
        with pytest.raises(DataPlaneError):
            await team.add_member(table, force=False)
        bench.plane.refuse.clear()
        assert bench.system.state() == before
        assert list(team.members) == ["eth1", "eth2"]
        after = bench.plane.plans[team.id]
        assert {**after, "epoch": 0} == {**plan, "epoch": 0}
    with pytest.raises(Conflict, match="eth1"):
        await team.add_member({"interface": "eth1"}, force=False)


async def test_an_unplugged_member_is_rebuilt_under_its_number(bench: Bench) -> None:
    team = await bench.started()
    eth1 = team.members["eth1"].id
    await team.upkeep.happened(LinkChanged(member=eth1, up=False, epoch=1))
    await team.upkeep.happened(PortLost(member=eth1, epoch=2))
    bench.system.unplug("eth1")
    bench.system.shut.discard("eth1")
    await team.upkeep.changed([Change(kind=ChangeKind.LINK, deleted=True)])
    assert team.view().members()[0]["role"] == "down"
    bench.system.add_link("eth1", index=99)
    await team.upkeep.changed([Change(kind=ChangeKind.LINK, index=99)])
    assert "eth1" in bench.system.shut
    assert (team.members["eth1"].id, team.members["eth1"].index) == (eth1, 99)
    assert team.view().members()[0]["role"] == "waiting"
    assert await team.stop() == []


async def test_a_removed_table_is_set_again(bench: Bench) -> None:
    team = await bench.started()
    bench.system.shut.clear()
    await team.upkeep.changed([Change(kind=ChangeKind.LINK, index=3)])
    assert bench.system.shut == {"eth1", "eth2"}
    assert bench.kinds().count("member-shut-again") == 2


async def test_a_deleted_virtual_nic_is_said_once_and_ends_cleanly(bench: Bench) -> None:
    before = bench.system.state()
    team = await bench.started()
    bench.system.unplug("team0")
    for _ in range(2):
        await team.upkeep.changed([Change(kind=ChangeKind.LINK, deleted=True)])
    assert bench.kinds().count("interface-gone") == 1
    assert team.view().team()["operstate"] == "DOWN"
    assert await team.stop() == []
    assert bench.system.state() == before


async def test_the_mtu_follows(bench: Bench) -> None:
    team = await bench.started()
    assert bench.system.table["team0"].mtu == team.mtu == 1438
    await bench.system.set_mtu(bench.system.table["eth2"].index, 1400)
    await team.upkeep.changed([Change(kind=ChangeKind.LINK, index=4)])
    assert bench.system.table["team0"].mtu == 1338
    await team.delete_sa("out")
    await team.delete_sa("in")
    assert bench.system.table["team0"].mtu == 1400


async def test_a_next_hop_reaches_its_sas_and_those_that_come_later(bench: Bench) -> None:
    from ipaddress import ip_address

    team = await bench.started()
    peer = ip_address("10.0.0.2")
    out = next(one for one in team.securing.sas if one.outbound)
    assert peer in bench.system.managed
    assert bench.plane.next_hops[out.id] is None
    bench.system.neighbouring[team.index, peer] = "02:00:00:00:00:99"
    await team.upkeep.changed([Change(kind=ChangeKind.NEIGHBOUR, index=team.index, address=peer)])
    assert bench.plane.next_hops[out.id] == "02:00:00:00:00:99"
    await team.replace_sa("out", OUT)
    new = next(one for one in team.securing.sas if one.outbound)
    assert bench.plane.next_hops[new.id] == "02:00:00:00:00:99"
    bench.system.neighbouring[team.index, peer] = None
    await team.upkeep.changed([Change(kind=ChangeKind.RESYNC)])
    assert bench.plane.next_hops[new.id] is None
    await team.delete_sa("out")
    assert peer not in bench.system.managed


async def test_an_outbound_replacement_takes_over_before_the_old_one_goes(bench: Bench) -> None:
    team = await bench.started()
    bench.plane.calls.clear()
    await team.replace_sa("out", OUT)
    changed = [
        call for call in bench.plane.calls if call in ("sa_add", "policies_set", "sa_delete")
    ]
    assert changed == ["sa_add", "policies_set", "sa_delete"]
    (policy,) = bench.plane.policies[team.id]
    (entry,) = policy["sas"]
    assert bench.plane.sas[entry["sa"]]["spi"] == 5000
    assert [sa["spi"] for sa in team.view().sas()] == ["0x00001388", "0x00001001"]


async def test_an_inbound_replacement_leaves_the_old_one_until_it_is_deleted(bench: Bench) -> None:
    team = await bench.started()
    await team.replace_sa("in", {**IN, "spi": 5001})
    names = [sa["name"] for sa in team.view().sas()]
    assert names == ["out", "in.0x00001001", "in"]
    await team.delete_sa("in.0x00001001")
    assert [sa["spi"] for sa in team.view().sas()] == ["0x00001000", "0x00001389"]


async def test_what_an_sa_may_not_be(bench: Bench) -> None:
    team = await bench.started()
    own = "000102030405060708090a0b0c0d0e0f10111213"
    for table, error in (
        ({**IN, "name": "x", "key": own}, KeyInUse),  # the same key and salt, other direction
        ({**OUT, "name": "x", "key": own}, KeyInUse),
        ({**OUT, "name": "x", "spi": 4096}, SpiInUse),
        ({**OUT, "name": "out"}, Conflict),
        ({**OUT, "name": "x", "policy": "none"}, SaError),
        ({**OUT, "name": "x", "member": "eth9"}, SaError),
    ):
        with pytest.raises(error):
            await team.add_sa(table)
        assert len(bench.plane.sas) == 2
    with pytest.raises(BadRequest, match="direction"):
        await team.replace_sa("out", IN)
    with pytest.raises(NotFound):
        await team.delete_sa("x")
    # A refused one has not used its key up.
    await team.add_sa({**OUT, "name": "x"})


async def test_a_refused_replacement_leaves_the_old_one(bench: Bench) -> None:
    team = await bench.started()
    before = team.view().sas()
    for refused in ("sa_add", "policies_set"):
        bench.plane.refuse.add(refused)
        with pytest.raises(DataPlaneError):
            await team.replace_sa("out", OUT)
        bench.plane.refuse.clear()
        assert team.view().sas() == before


async def test_policies_keep_their_order_and_their_sas(bench: Bench) -> None:
    team = await bench.started()
    clear = {"action": "bypass", "local": "10.0.0.0/24", "remote": "10.1.0.0/24"}
    await team.add_policy({"name": "clear", **clear}, before="p")
    await team.add_policy({"name": "last", **clear}, before=None)
    assert [one["name"] for one in bench.plane.policies[team.id]] == ["clear", "p", "last"]
    number = bench.plane.policies[team.id][1]["id"]
    await team.replace_policy("p", {"name": "q", "local": "10.0.0.0/24", "remote": "10.2.0.0/16"})
    changed = bench.plane.policies[team.id][1]
    assert (changed["id"], changed["name"], len(changed["sas"])) == (number, "q", 1)
    await team.delete_policy("clear")
    with pytest.raises(NotFound):
        await team.delete_policy("clear")
    with pytest.raises(Conflict):
        await team.add_policy({"name": "q", **clear}, before=None)
    assert [one["name"] for one in team.view().policies() if not one["builtin"]] == ["q", "last"]


async def test_an_engine_that_hung_and_gave_all_back_is_tested_again(bench: Bench) -> None:
    team = await bench.started()
    engine = bench.host.engine("eth1-asic").id

    def granted() -> bool:
        grants = bench.plane.plans[team.id]["grants"]["engines"]
        return engine in [grant["engine"] for grant in grants]

    await team.upkeep.happened(EngineReported(engine=engine, what="hung"))
    assert not granted()
    assert team.upkeep.retests.next() is None  # it still has jobs
    await team.upkeep.happened(
        EngineReported(engine=engine, what="recovered", details=(("health", "hung"),))
    )
    assert team.upkeep.retests.next() is not None
    await team.upkeep.due()
    assert granted()
    assert "engine_reset" in bench.plane.calls


async def test_losing_the_last_engine_is_said(bench: Bench) -> None:
    team = await bench.started()
    await team.remove_engine("cores")
    await team.upkeep.happened(
        EngineReported(engine=bench.host.engine("eth1-asic").id, what="hung")
    )
    assert {"kind": "protection", "on": False} in [
        {"kind": event["kind"], "on": event.get("on")} for event in bench.events
    ]
    await team.reset_engine("eth1-asic")
    assert [event["on"] for event in bench.events if event["kind"] == "protection"] == [False, True]


async def test_no_policy_demands_what_no_engine_gives(bench: Bench) -> None:
    team = await bench.started('[team]\nname = "team0"\n[[member]]\ninterface = "eth1"')
    wanted = {"name": "p", "local": "10.0.0.0/24", "remote": "10.1.0.0/16"}
    with pytest.raises(NoVerifiedEngine, match="policy p"):
        await team.add_policy(wanted, before=None)
    assert bench.plane.policies[team.id] == []
    await team.add_engine({"name": "cores", "kind": "cpu"})
    await team.add_policy(wanted, before=None)


async def test_the_pool_belongs_to_all_teams(bench: Bench) -> None:
    first = await bench.started()
    second = await bench.started('[team]\nname = "team1"\n[[member]]\ninterface = "eth3"')
    cores = bench.host.engine("cores").id
    grants = bench.plane.plans[second.id]["grants"]["engines"]
    assert cores in [grant["engine"] for grant in grants]
    assert await first.stop() == []
    grants = bench.plane.plans[second.id]["grants"]["engines"]
    assert cores not in [grant["engine"] for grant in grants]
    assert await second.stop() == []


async def test_the_mode_changes_on_the_running_team(bench: Bench) -> None:
    team = await bench.started()
    await team.set_mode("balance-alb")
    plan = bench.plane.plans[team.id]
    assert (plan["mode"], plan["mac"], len(plan["transmit"])) == ("balance-alb", "member", 256)
    with pytest.raises(BadRequest, match="balance-alb"):
        await team.set_mode("802.3ad")


def test_a_teams_address_is_its_own_and_no_members() -> None:
    mac = own_mac("team0", ["02:aa:00:00:00:01"])
    assert mac == own_mac("team0", ["02:aa:00:00:00:01"])
    assert mac != own_mac("team0", ["02:aa:00:00:00:02"])
    assert mac != own_mac("team1", ["02:aa:00:00:00:01"])
    first = int(mac[:2], 16)
    assert (first & 2, first & 1) == (2, 0)


async def test_no_resource_holds_a_key(bench: Bench) -> None:
    team = await bench.started()
    view = team.view()
    shown = repr((view.team(), view.engines(), view.sas(), view.policies(), view.features()))
    assert "000102030405060708090a0b0c0d0e0f" not in shown
    assert "key" not in shown.replace("key_install", "")

"""Hot swap: replaced on purpose, or vanished and come back, under its name or another."""

import time

import pytest
from tests.unit.control_bench import Bench

from esprit.control.identity import Identity, Mark, refusal
from esprit.control.team import RunningTeam
from esprit.control.watch import Change, ChangeKind
from esprit.errors import Conflict, DataPlaneError, EngineRefused, InterfaceUnfit, NotFound
from esprit.model.event import PortLost
from esprit.modes import decide

pytestmark = pytest.mark.anyio

BUNDLE = """
[team]
name = "team0"
preferred = "eth1"
[[member]]
interface = "eth1"
priority = 7
weight = 3
engine = { kind = "asic", rate = "10G" }
[[member]]
interface = "eth2"
[[engine]]
name = "cores"
kind = "cpu"
[[policy]]
name = "p"
local = "10.0.0.0/24"
remote = "10.1.0.0/16"
[[sa]]
name = "out1"
direction = "out"
spi = 4096
src = "10.0.0.1"
dst = "10.0.0.2"
member = "eth1"
key = "000102030405060708090a0b0c0d0e0f10111213"
[[sa]]
name = "out2"
direction = "out"
spi = 4097
src = "10.0.0.1"
dst = "10.0.0.2"
member = "eth2"
key = "100102030405060708090a0b0c0d0e0f10111213"
"""


async def links_changed(team: RunningTeam) -> None:
    await team.upkeep.changed([Change(kind=ChangeKind.LINK)])


async def test_the_new_one_is_in_before_the_old_one_is_out(bench: Bench) -> None:
    before = bench.system.state()
    team = await bench.started(BUNDLE)
    bench.plane.calls.clear()
    await team.replace_member("eth1", {"interface": "eth3"}, force=False)
    kept = [c for c in bench.plane.calls if c in ("member_add", "publish", "member_remove")]
    assert kept.index("member_add") < kept.index("publish") < kept.index("member_remove")
    assert list(team.members) == ["eth2", "eth3"]
    new = team.members["eth3"]
    assert (new.spec.priority, new.spec.weight) == (7, 3), "what is not said is the old one's"
    plan = bench.plane.plans[team.id]
    assert plan["transmit"] == [new.id], "it is the preferred one now, and nobody else carried"
    (policy,) = bench.plane.policies[team.id]
    assert {entry["member"] for entry in policy["sas"]} == {new.id, team.members["eth2"].id}
    assert "eth1" not in bench.system.shut
    assert [one.spec.name for one in bench.host.engines()] == ["cores"]
    assert bench.said("member-replaced") == [{"member": "eth1", "by": "eth3"}]
    assert await team.stop() == []
    assert bench.system.state() == before


@pytest.mark.parametrize("refused", ["member_add", "eth3-asic", "policies_set", "publish"])
async def test_a_replacement_that_fails_changes_nothing(bench: Bench, refused: str) -> None:
    team = await bench.started(BUNDLE)
    system, plan, sas = bench.system.state(), bench.plane.plans[team.id], team.view().sas()
    bench.plane.refuse.add(refused)
    table = {"interface": "eth3", "engine": {"kind": "asic"}}
    with pytest.raises((DataPlaneError, EngineRefused)):
        await team.replace_member("eth1", table, force=False)
    bench.plane.refuse.clear()
    assert bench.system.state() == system
    assert list(team.members) == ["eth1", "eth2"]
    team.put_in_force(decide(team.state))
    after = bench.plane.plans[team.id]
    assert {**after, "epoch": 0} == {**plan, "epoch": 0}
    assert team.view().sas() == sas
    assert bench.host.taken == {"team0": "team0", "eth1": "team0", "eth2": "team0"}
    assert await team.stop() == []


async def test_what_cannot_be_replaced(bench: Bench) -> None:
    team = await bench.started(BUNDLE)
    with pytest.raises(NotFound, match="eth9"):
        await team.replace_member("eth9", {"interface": "eth3"}, force=False)
    with pytest.raises(Conflict, match="rejoins by itself"):
        await team.replace_member("eth1", {"interface": "eth1"}, force=False)
    with pytest.raises(Conflict, match="eth2"):
        await team.replace_member("eth1", {"interface": "eth2"}, force=False)


async def gone(bench: Bench, team: RunningTeam, interface: str) -> int:
    number = team.members[interface].id
    bench.system.unplug(interface)
    bench.system.shut.discard(interface)
    await team.upkeep.happened(PortLost(member=number, epoch=bench.plane.link_epoch + 1))
    await links_changed(team)
    return number


async def expire(team: RunningTeam, monkeypatch: pytest.MonkeyPatch) -> None:
    due = team.upkeep.next_due()
    assert due is not None
    monkeypatch.setattr(time, "monotonic_ns", lambda: due)
    await team.upkeep.due()


async def test_a_nic_that_vanishes_is_removed_after_a_grace_and_its_engine_with_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = await bench.started(BUNDLE)
    number = await gone(bench, team, "eth1")
    assert "eth1" in team.members, "a driver that resets its device takes a moment"
    assert [one.spec.name for one in bench.host.engines()] == ["eth1-asic", "cores"]
    await expire(team, monkeypatch)
    assert list(team.members) == ["eth2"]
    assert number not in bench.plane.members
    assert [one.spec.name for one in bench.host.engines()] == ["cores"]
    assert bench.said("member-vanished") == [{"member": "eth1"}]
    # It is plugged in again: the same member, its engine tested anew.
    bench.system.add_link("eth1", index=90)
    await links_changed(team)
    assert team.members["eth1"].id == number
    assert "eth1" in bench.system.shut
    assert [one.spec.name for one in bench.host.engines()] == ["cores", "eth1-asic"]
    assert bench.said("member-rejoined") == [{"member": "eth1", "was": "eth1"}]
    assert await team.stop() == []


@pytest.mark.parametrize("late", [False, True])
async def test_a_nic_is_known_by_what_is_burnt_in_whatever_its_name(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    burnt_in = {"permanent": "02:bb:00:00:00:01", "bus": "0000:01:00.0", "kind": None}
    bench.system.add_link("eth1", index=80, **burnt_in)
    team = await bench.started(BUNDLE)
    number = await gone(bench, team, "eth1")
    if late:
        await expire(team, monkeypatch)
    # Another card has its name now; itself has another.
    bench.system.add_link("eth1", index=91, permanent="02:bb:00:00:00:99", kind=None)
    await links_changed(team)
    assert "eth1" not in bench.system.shut, "a stranger of that name stays the host's"
    bench.system.add_link("enp1s0", index=92, **burnt_in)
    await links_changed(team)
    assert team.members["enp1s0"].id == number
    assert "eth1" not in team.members
    assert bench.system.shut == {"enp1s0", "eth2"}
    assert bench.host.taken == {"team0": "team0", "eth2": "team0", "enp1s0": "team0"}
    assert team.state.preferred == "enp1s0"
    (policy,) = bench.plane.policies[team.id]
    assert {entry["member"] for entry in policy["sas"]} == {number, team.members["eth2"].id}
    assert [sa["dev"] for sa in team.view().sas()] == ["enp1s0", "eth2"]
    assert await team.stop() == []


async def test_a_vanished_member_can_be_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = await bench.started(BUNDLE)
    await gone(bench, team, "eth1")
    await expire(team, monkeypatch)
    await team.remove_member("eth1")
    bench.system.add_link("eth1", index=90)
    await links_changed(team)
    assert list(team.members) == ["eth2"]
    with pytest.raises(NotFound):
        await team.remove_member("eth1")


async def test_one_that_comes_back_and_cannot_be_had_is_told_of_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = await bench.started(BUNDLE)
    await gone(bench, team, "eth1")
    await expire(team, monkeypatch)
    bench.system.add_link("eth1", index=90)
    bench.plane.refuse.add("eth1-asic")
    await links_changed(team)
    await links_changed(team)
    (lost,) = bench.said("member-lost")
    assert lost["member"] == "eth1"
    assert list(team.members) == ["eth2"]
    assert "eth1" not in bench.system.shut


def test_by_what_an_interface_is_known_again() -> None:
    def mark(**changes: str | None) -> Mark:
        fields = {"interface": "a", "kind": None, "permanent": None, "bus": None, "driver": None}
        return Mark(**{**fields, **changes})  # type: ignore[arg-type]

    nic = mark(permanent="02::1", bus="0000:01:00.0")
    assert nic.is_of(mark(interface="b", permanent="02::1", bus="0000:02:00.0")), "another slot"
    assert not nic.is_of(mark(permanent="02::2", bus="0000:01:00.0")), "another card in its slot"
    placed = mark(bus="0000:01:00.0", driver="ixgbe")
    assert placed.is_of(mark(interface="b", bus="0000:01:00.0", driver="ixgbe"))
    assert not placed.is_of(mark(bus="0000:01:00.0", driver="e1000"))
    virtual = mark(kind="veth")
    assert virtual.is_of(mark(kind="veth"))
    assert not virtual.is_of(mark(kind="veth", interface="b"))
    assert not virtual.is_of(mark(kind="bridge"))


# rules on what may be a member


def test_rules_are_patterns_on_every_field() -> None:
    found = Identity(interface="eth1", driver="ixgbe", vendor="0x8086", firmware="1.5")
    assert refusal(found, (), ()) is None
    assert refusal(found, ({"vendor": "0x8086", "driver": "ixgb*"},), ()) is None
    assert refusal(found, ({"vendor": "0x15b3"}, {"driver": "mlx5*"}), ()) is not None
    assert refusal(found, (), ({"driver": "*", "firmware": "1.*"},)) == (
        'is denied by deny = { driver = "*", firmware = "1.*" }'
    )
    assert refusal(found, (), ({"device": "0x*"},)) is None, "what is not there matches only *"
    assert refusal(found, (), ({"device": "*"},)) is not None


async def test_a_refused_interface_is_not_touched(bench: Bench) -> None:
    before = bench.system.state()
    text = BUNDLE.replace('name = "team0"', 'name = "team0"\ndeny = [{ interface = "eth2" }]')
    with pytest.raises(InterfaceUnfit, match=r"eth2: is denied by.*; see `esprit inventory`"):
        await bench.started(text)
    assert bench.system.state() == before
    assert bench.plane.calls == []

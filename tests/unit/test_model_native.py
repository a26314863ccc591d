"""What crosses into the data plane has exactly the shapes of ``_native.pyi``."""

import ast
import json
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

import esprit
from esprit import _native
from esprit.errors import EngineRefused
from esprit.model import (
    Announcement,
    EngineSpec,
    Grant,
    Key,
    MemberRole,
    MemberSpec,
    Plan,
    Policy,
    SecurityAssociation,
    Spill,
    TeamSpec,
    UdpEncap,
)
from esprit.model.event import (
    EngineReported,
    EventsLost,
    LinkChanged,
    NumbersWanted,
    Panicked,
    PortLost,
    TookOver,
    Unknown,
    from_native,
)
from esprit.model.state import Capabilities

STUB = ast.parse((Path(esprit.__file__).parent / "_native.pyi").read_text())


def keys(name: str) -> tuple[set[str], set[str]]:
    """The keys of a TypedDict of the stub: those that must be there, and all."""
    (found,) = (n for n in STUB.body if isinstance(n, ast.ClassDef) and n.name == name)
    fields = [n for n in found.body if isinstance(n, ast.AnnAssign)]
    names = {n.target.id for n in fields if isinstance(n.target, ast.Name)}
    optional = {
        n.target.id
        for n in fields
        if isinstance(n.target, ast.Name) and "NotRequired" in ast.unparse(n.annotation)
    }
    return names - optional, names


def fits(value: object, name: str) -> dict[str, object]:
    required, known = keys(name)
    assert isinstance(value, dict)
    assert required <= set(value) <= known
    json.dumps(value)  # plain values only
    return value


PLAN = Plan(
    epoch=4,
    team=1,
    latch=7,
    mode="balance-alb",
    members=(MemberRole(id=2, carry=True, accept=False),),
    transmit=(2,),
    receiver=2,
    takeover=(2,),
    source_mac="member",
    announce=(Announcement(member=2, frames=(b"\x01\xfe",)),),
    grants=(Grant(engine=5, member=2, primary=0, secondary=1, bias_load=1.0, limit_ns=9),),
    spill=Spill(primary=1, secondary=2, application=3),
)


def test_a_plan() -> None:
    plan = PLAN.to_native()
    fits(plan, "Plan")
    fits(plan["members"][0], "MemberRole")
    fits(plan["announce"][0], "Announcement")
    fits(plan["grants"], "Grants")
    fits(plan["grants"]["engines"][0], "Grant")
    assert plan["mac"] == "member"
    assert plan["announce"][0]["frames"] == ["01fe"]
    assert tuple(plan["grants"]["spill_ns"]) == (1, 2, 3)
    assert plan["transmit"] == [2]


def test_a_team_and_a_member() -> None:
    team = TeamSpec(name="team0").to_native(id=1, mac="02:00:00:00:00:01", mtu=1400, adopt=False)
    fits(team, "TeamSpec")
    fits(MemberSpec(interface="eth1").to_native(id=2, team=1), "MemberSpec")


def test_engines() -> None:
    cores = EngineSpec(name="cores", kind="cpu", threads=0).to_native(id=1, member=None)
    assert fits(cores, "EngineSpec")["threads"] == 0
    assert "lookaside" not in cores, "only a simulated engine is described"
    asic = EngineSpec(
        name="eth1-asic",
        kind="asic",
        rate_bps=10**10,
        ns_per_packet=50,
        latency_ns=20_000,
        coalesce_ns=50_000,
        queue_ns=5_000_000,
        queue_jobs=64,
        memory=1 << 20,
        sa_slots=16,
        key_install_ns=5000,
        transfer_ns=2000,
        transfer_bps=64 * 10**9,
        patience_ns=10_000_000,
        esn=False,
        max_replay_window=64,
        lookaside=False,
        inline=True,
        secondary=False,
    ).to_native(id=2, member=3)
    assert set(fits(asic, "EngineSpec")) == keys("EngineSpec")[1] - {"threads"}
    assert asic["transfer"] == {"ns_per_job": 2000, "ns_per_byte": 0.125}
    short = EngineSpec(name="a", kind="asic").to_native(id=2, member=None)
    assert "rate_bps" not in short, "what is not said is the data plane's choice"
    assert "transfer" not in short


@pytest.fixture
def plane() -> Iterator[_native.DataPlane]:
    made = _native.DataPlane()
    yield made
    made.close()


def asic(number: int) -> "_native.EngineSpec":
    return EngineSpec(name="asic", kind="asic", rate_bps=10**10).to_native(id=number, member=None)


def test_what_an_engine_is_admitted_with(plane: _native.DataPlane) -> None:
    for found in (plane.engine_add(asic(1)), plane.engine_verify(1), plane.engine_reset(1)):
        assert set(fits(found, "EngineVerified")) == keys("EngineVerified")[1]
        # Engines declare more than Python looks at.
        assert keys("Capabilities")[1] <= set(found["capabilities"])
        for rate in found["rates"]:
            fits(rate, "Rate")
        for test in found["tests"]:
            fits(test, "EngineTest")
            assert test["passed"]
            assert test["evidence"]
        asked = [(test["algorithm"], test["direction"]) for test in found["tests"]]
        assert sorted(asked) == sorted((r["algorithm"], r["direction"]) for r in found["rates"])
    (seen,) = plane.snapshot()["engines"].values()
    assert keys("EngineSnapshot")[1] <= set(seen)


def test_what_an_engine_is_made_with_is_what_it_declares(plane: _native.DataPlane) -> None:
    spec = EngineSpec(
        name="asic",
        kind="asic",
        coalesce_ns=50_000,
        queue_jobs=64,
        transfer_ns=2000,
        transfer_bps=64 * 10**9,
        patience_ns=10_000_000,
        esn=False,
        max_replay_window=128,
    )
    found = plane.engine_add(spec.to_native(id=1, member=None))
    told = found["capabilities"]
    assert (told["queue_jobs"], told["patience_ns"]) == (64, 10_000_000)
    assert (told["esn"], told["max_replay_window"]) == (False, 128)
    assert told["transfer"] == {"ns_per_job": 2000, "ns_per_byte": 0.125}
    assert min(rate["latency_ns"] for rate in found["rates"]) >= 50_000, "it was measured with it"


def test_an_engine_that_was_refused_breaks_and_heals_outside_the_pool(
    plane: _native.DataPlane,
) -> None:
    algorithms = plane.engine_add(asic(1))["capabilities"]["algorithms"]
    plane.engine_fault(1, "wrong", 1)
    with pytest.raises(EngineRefused) as refused:
        plane.engine_verify(1)
    for algorithm in algorithms:
        assert f"{algorithm} seal: " in refused.value.message
    assert plane.snapshot()["engines"] == {}
    plane.engine_fault(1, "heal")
    assert all(test["passed"] for test in plane.engine_verify(1)["tests"])
    assert list(plane.snapshot()["engines"]) == [1]


OUTBOUND = SecurityAssociation(
    name="out",
    direction="out",
    spi=0x1001,
    src=ip_address("10.0.0.1"),
    dst=ip_address("10.0.0.2"),
    key=Key(bytes(range(20))),
    encap=UdpEncap(),
    replay_window=4096,
    weight=3,
)


def test_a_security_association_without_its_key() -> None:
    native = OUTBOUND.to_native(id=1, team=2, member=3, policy=4, seq=1, granted=100)
    fits(native, "SaSpec")
    assert native["encap"] == {"sport": 4500, "dport": 4500}
    assert native["src"] == "10.0.0.1"
    assert native["weight"] == 3
    assert bytes(range(20)).hex() not in json.dumps(native)
    assert "key" not in repr(OUTBOUND)


def test_only_an_inbound_association_has_a_replay_window() -> None:
    inbound = replace(OUTBOUND, direction="in")
    windows = [
        sa.to_native(id=1, team=2, member=None, policy=None, seq=0, granted=0)["replay_window"]
        for sa in (OUTBOUND, inbound)
    ]
    assert windows == [0, 4096]


def test_a_policy() -> None:
    policy = Policy(
        name="web",
        action="protect",
        local=ip_network("10.0.0.0/24"),
        remote=ip_network("10.1.0.0/24"),
        protocol=6,
        local_port=(80, 80),
    )
    native = policy.to_native(id=9, sas=((1, 10), (None, 11)))
    fits(native, "PolicySpec")
    assert native["sas"] == [{"member": 1, "sa": 10}, {"member": None, "sa": 11}]
    assert native["local"] == "10.0.0.0/24"


def test_events_come_as_frozen_values() -> None:
    assert from_native({"kind": "link", "time": 5, "member": 1, "up": False, "epoch": 3}) == (
        LinkChanged(time=5, member=1, up=False, epoch=3)
    )
    assert from_native(
        {"kind": "takeover", "time": 5, "team": 0, "from": 1, "to": None, "epoch": 3}
    ) == TookOver(time=5, team=0, lost=1, heir=None, epoch=3)
    assert from_native({"kind": "port-gone", "time": 1, "member": 2, "epoch": 9}) == PortLost(
        time=1, member=2, epoch=9
    )
    assert from_native(
        {"kind": "engine", "time": 1, "engine": 4, "event": "hung", "waited_ns": 7}
    ) == EngineReported(time=1, engine=4, what="hung", details=(("waited_ns", 7),))
    assert from_native({"kind": "sa-grant", "time": 1, "sa": 2, "next": 3}) == NumbersWanted(
        time=1, sa=2, next=3
    )
    assert from_native({"kind": "panic", "time": 1, "message": "x"}) == Panicked(
        time=1, message="x"
    )
    assert from_native({"kind": "lost", "time": 1, "count": 2}) == EventsLost(time=1, count=2)


def test_an_event_of_tomorrow_is_no_reason_to_stop_listening() -> None:
    event = from_native({"kind": "eclipse", "time": 1, "shade": [1, 2]})
    assert event == Unknown(time=1, name="eclipse", details=(("shade", "[1, 2]"),))
    assert isinstance(from_native({}), Unknown)


def test_capabilities_are_read_as_declared() -> None:
    found = Capabilities.from_native(
        {"algorithms": ["aes-128-gcm-16"], "inline": True, "primary": True, "new_key": 1}
    )
    assert found.algorithms == ("aes-128-gcm-16",)
    assert found.inline
    assert not found.lookaside, "nothing is assumed"
    assert not found.secondary


def test_two_plans_are_the_same_but_for_their_epochs() -> None:
    assert PLAN.same_as(replace(PLAN, epoch=9, latch=9))
    assert not PLAN.same_as(replace(PLAN, receiver=None))
    assert not PLAN.same_as(None)

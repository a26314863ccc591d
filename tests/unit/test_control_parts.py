"""Checks of interfaces, next hops, retests and the words for events."""

import ipaddress
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.fake_system import FakeSystem

from esprit.control import checks
from esprit.control.narrate import narrate
from esprit.control.neighbours import NextHops
from esprit.control.netlink import Address, IpAddress, Netlink, Route
from esprit.errors import (
    InterfaceCarriesDefaultRoute,
    InterfaceCarriesSession,
    InterfaceEnslaved,
    InterfaceHasAddresses,
    InterfaceMissing,
    InterfaceUnfit,
)
from esprit.model.event import EngineReported, LinkChanged, TookOver, Unknown
from esprit.verify.retests import FIRST_NS, LONGEST_NS, Retests

pytestmark = pytest.mark.anyio

PEER = ipaddress.ip_address("10.0.0.2")
FAR = ipaddress.ip_address("10.9.0.2")


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> FakeSystem:
    monkeypatch.setattr(checks, "_connections", lambda: iter(()))
    found = FakeSystem()
    found.add_link("eth1")
    return found


def _netlink(system: FakeSystem) -> Netlink:
    return cast("Netlink", system)


def _route(system: FakeSystem, destination: str | None, name: str = "eth1") -> None:
    system.routing.append(
        Route(
            destination=None if destination is None else ipaddress.ip_network(destination),
            gateway=None,
            source=None,
            oifs=(system.table[name].index,),
            table=254,
        )
    )


def _address(system: FakeSystem, text: str, *, link_scope: bool = False) -> None:
    system.own.append(
        Address(
            index=system.table["eth1"].index,
            interface=ipaddress.ip_interface(text),
            link_scope=link_scope,
            usable=True,
        )
    )


async def test_a_plain_interface_may_be_a_member(system: FakeSystem) -> None:
    _address(system, "fe80::1/64", link_scope=True)  # the kernel's own, of every link that is up
    assert (await checks.check_member(_netlink(system), "eth1")).name == "eth1"


async def test_what_may_not_be_a_member(system: FakeSystem) -> None:
    netlink = _netlink(system)
    with pytest.raises(InterfaceMissing):
        await checks.check_member(netlink, "eth9")
    system.add_link("lo", loopback=True)
    with pytest.raises(InterfaceUnfit):
        await checks.check_member(netlink, "lo")
    bridge = system.add_link("br0")
    system.add_link("eth2", master=bridge.index)
    with pytest.raises(InterfaceEnslaved, match="br0"):
        await checks.check_member(netlink, "eth2")
    _address(system, "192.0.2.1/24")
    with pytest.raises(InterfaceHasAddresses, match=r"192\.0\.2\.1/24"):
        await checks.check_member(netlink, "eth1")


async def test_the_default_route_is_left_alone_but_by_force(system: FakeSystem) -> None:
    _route(system, None)
    with pytest.raises(InterfaceCarriesDefaultRoute, match="--force"):
        await checks.check_member(_netlink(system), "eth1")
    assert (await checks.check_member(_netlink(system), "eth1", force=True)).name == "eth1"


@pytest.mark.parametrize("seen", ["by route", "by address"])
async def test_the_callers_session_is_left_alone_but_by_force(
    system: FakeSystem, monkeypatch: pytest.MonkeyPatch, seen: str
) -> None:
    monkeypatch.setattr(checks, "_connections", lambda: iter(["198.51.100.9 50000 192.0.2.1 22"]))
    if seen == "by route":
        _route(system, "198.51.100.0/24")
    else:
        _address(system, "192.0.2.1/24")
    with pytest.raises(InterfaceCarriesSession, match=r"198\.51\.100\.9"):
        await checks.check_member(_netlink(system), "eth1")


def test_sessions_are_found_through_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        checks,
        "_connections",
        lambda: iter(
            ["fe80::9%eth1 5 fe80::1%eth1 22", "nonsense", "a b c d", "192.0.2.9 1 192.0.2.1 22"]
        ),
    )
    found = [(str(client), str(server)) for client, server in checks.ssh_sessions()]
    assert found == [("fe80::9", "fe80::1"), ("192.0.2.9", "192.0.2.1")]


class Hops:
    def __init__(self, system: FakeSystem) -> None:
        self.told: list[tuple[IpAddress, str | None]] = []
        self.index = system.add_link("team0").index
        self.hops = NextHops(
            _netlink(system), self.index, lambda peer, mac: self.told.append((peer, mac))
        )


async def test_a_peer_on_the_link_is_its_own_next_hop(system: FakeSystem) -> None:
    bench = Hops(system)
    _route(system, "10.0.0.0/24", "team0")
    await bench.hops.watch(PEER)
    assert bench.hops.hop_of(PEER) == PEER
    assert system.managed == {PEER}
    system.neighbouring[bench.index, PEER] = "02:00:00:00:00:01"
    await bench.hops.neighbours_changed()
    await bench.hops.neighbours_changed()  # nothing new: nothing is told
    assert bench.told == [(PEER, None), (PEER, "02:00:00:00:00:01")]
    assert bench.hops.concerns(PEER)
    assert not bench.hops.concerns(FAR)


async def test_a_peer_behind_a_router_is_reached_by_the_router(system: FakeSystem) -> None:
    bench = Hops(system)
    system.routing.append(
        Route(
            destination=ipaddress.ip_network("10.9.0.0/24"),
            gateway=PEER,
            source=None,
            oifs=(bench.index,),
            table=254,
        )
    )
    system.neighbouring[bench.index, PEER] = "02:00:00:00:00:01"
    await bench.hops.watch(FAR)
    assert (bench.hops.hop_of(FAR), bench.hops.mac_of(FAR)) == (PEER, "02:00:00:00:00:01")
    # The router stays managed while one of two peers needs it.
    _route(system, "10.0.0.0/24", "team0")
    await bench.hops.watch(PEER)
    await bench.hops.forget_all_but({PEER})
    assert system.managed == {PEER}
    await bench.hops.forget_all_but(set())
    assert system.managed == set()


async def test_a_neighbour_that_the_operator_fixed_is_neither_resolved_nor_forgotten(
    system: FakeSystem,
) -> None:
    bench = Hops(system)
    _route(system, "10.0.0.0/24", "team0")
    system.neighbouring[bench.index, PEER] = "02:00:00:00:00:01"
    system.fixed.add(PEER)
    await bench.hops.watch(PEER)
    await bench.hops.refresh()
    assert system.managed == set()
    assert bench.hops.mac_of(PEER) == "02:00:00:00:00:01"
    await bench.hops.forget_all_but(set())
    assert system.neighbouring == {(bench.index, PEER): "02:00:00:00:00:01"}


async def test_without_a_route_nothing_is_resolved_until_there_is_one(system: FakeSystem) -> None:
    bench = Hops(system)
    await bench.hops.watch(PEER)
    assert bench.hops.hop_of(PEER) is None
    assert system.managed == set()
    _route(system, "10.0.0.0/24", "team0")
    await bench.hops.refresh()
    assert system.managed == {PEER}


async def test_an_older_kernel_is_asked_again_by_timer(system: FakeSystem) -> None:
    bench = Hops(system)
    system.manages = False
    _route(system, "10.0.0.0/24", "team0")
    await bench.hops.watch(PEER)
    assert bench.hops.refresh_by_timer
    system.managed.clear()
    await bench.hops.refresh()
    assert system.managed == {PEER}


@given(st.lists(st.integers(0, 2 * LONGEST_NS), max_size=20))
def test_an_engine_that_hangs_again_and_again_is_tested_ever_more_rarely(gaps: list[int]) -> None:
    retests, now, tests = Retests(), 0, []
    for gap in gaps:
        now += gap
        wait = retests.plan("e", now) - now
        assert 0 <= wait <= LONGEST_NS
        now += wait
        tests.append(now)
    # Within the longest wait there are no more tests than doubling from a second allows.
    allowed = 2 + (LONGEST_NS // FIRST_NS).bit_length()
    for at in tests:
        assert sum(at <= other < at + LONGEST_NS for other in tests) <= allowed


def test_the_first_hang_is_forgiven_at_once_and_the_second_is_not() -> None:
    retests = Retests()
    assert retests.plan("e", 10) == 10
    assert retests.plan("e", 20) == 20 + FIRST_NS
    assert retests.plan("other", 20) == 20
    retests.forget("e")
    assert retests.plan("e", 30) == 30


def test_a_liar_waits_before_its_first_test_and_longer_before_each_other() -> None:
    retests = Retests()
    waits, now = [], 10
    for _ in range(9):
        at = retests.plan("e", now, patient=True)
        assert retests.next() == at
        assert retests.take(at - 1) == []
        assert retests.take(at) == ["e"]
        waits.append(at - now)
        now = at
    assert waits[:3] == [FIRST_NS, 2 * FIRST_NS, 4 * FIRST_NS]
    assert waits[-1] == LONGEST_NS
    assert retests.next() is None


def test_events_bear_names_and_other_teams_events_are_not_told() -> None:
    members, engines = {1: "eth1", 2: "eth2"}, {7: "asic"}

    def told(event: object) -> object:
        return narrate(event, 5, members, engines, {})  # type: ignore[arg-type]

    assert told(LinkChanged(member=1, up=False, epoch=1)) == {"member": "eth1", "up": False}
    assert told(LinkChanged(member=9, up=False, epoch=1)) is None
    assert told(TookOver(team=5, lost=1, heir=2, epoch=1)) == {"from": "eth1", "to": "eth2"}
    assert told(TookOver(team=5, lost=1, heir=None, epoch=1)) == {"from": "eth1", "to": None}
    assert told(TookOver(team=6, lost=1, heir=2, epoch=1)) is None
    redone = EngineReported(engine=None, what="redone", details=(("from", 7), ("jobs", 3)))
    assert told(redone) == {"engine": None, "what": "redone", "from": "asic", "jobs": 3}
    assert told(Unknown(name="new", details=(("x", 1),))) == {"name": "new", "x": 1}

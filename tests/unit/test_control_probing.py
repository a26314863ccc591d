"""Probing and measuring as the control plane does them: keys, requests, events, loads."""

from ipaddress import ip_address

import pytest
from tests.unit.control_bench import TEXT, Bench

from esprit.control.asks import asks, link_local
from esprit.control.team import RunningTeam
from esprit.model.event import EventsLost, Probed, SendingFailed, from_native

pytestmark = pytest.mark.anyio

PROBED = TEXT + '[probe]\nevery = "10ms"\ntarget = ["10.0.0.254", "2001:db8::1"]\n'


def test_an_arp_probe_says_no_address_of_its_own() -> None:
    (ask,) = asks({7: "02:00:00:00:00:01"}, [ip_address("192.0.2.254")])
    assert (ask.member, ask.address) == (7, "192.0.2.254")
    frame = ask.frame
    assert (frame[:6], frame[6:12], frame[12:14]) == (
        b"\xff" * 6,
        bytes.fromhex("020000000001"),
        b"\x08\x06",
    )
    body = frame[14:42]
    assert body[:8] == bytes.fromhex("0001080006040001"), "a request"
    assert body[8:14] == bytes.fromhex("020000000001")
    assert body[14:18] == bytes(4), "RFC 5227: nobody's table changes by it"
    assert body[18:24] == bytes(6)
    assert body[24:28] == ip_address("192.0.2.254").packed


def test_a_solicitation_comes_from_the_member_itself() -> None:
    target = ip_address("2001:db8::12:3456")
    (ask,) = asks({7: "02:00:00:00:00:01"}, [target])
    frame = ask.frame
    assert frame[:6] == bytes.fromhex("3333ff123456")
    assert frame[12:14] == b"\x86\xdd"
    header, message = frame[14:54], frame[54:86]
    assert header[6:8] == bytes([58, 255]), "RFC 4861: hop limit 255, or it is no neighbour's"
    assert header[8:24] == link_local(bytes.fromhex("020000000001"))
    assert header[8:24] == ip_address("fe80::ff:fe00:1").packed
    assert header[24:40] == ip_address("ff02::1:ff12:3456").packed
    assert (message[0], message[8:24]) == (135, target.packed)
    assert message[24:] == bytes.fromhex("0101020000000001")
    words = header[8:40] + (32).to_bytes(4) + (58).to_bytes(4) + message
    total = sum(int.from_bytes(words[at : at + 2]) for at in range(0, len(words), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF


async def test_a_team_has_a_key_of_its_own_at_each_start_and_nothing_shows_it(
    bench: Bench,
) -> None:
    team = await bench.started()
    first = bench.plane.probe_keys[team.id]
    assert len(first) == 16
    shown = repr((team.view().team(), team.plan, bench.events))
    assert first.hex() not in shown
    assert await team.stop() == []
    again = await bench.started()
    assert bench.plane.probe_keys[again.id] != first


async def test_the_plan_has_what_members_ask_and_it_follows_them(bench: Bench) -> None:
    team = await bench.started(PROBED)
    eth1, eth2 = team.members["eth1"].id, team.members["eth2"].id
    probe = bench.plane.plans[team.id]["probe"]
    assert probe is not None
    assert (probe["every_ns"], probe["miss"], probe["of"]) == (10_000_000, 3, 5)
    assert [(ask["member"], ask["address"]) for ask in probe["asks"]] == [
        (eth1, "10.0.0.254"),
        (eth2, "10.0.0.254"),
        (eth1, "2001:db8::1"),
        (eth2, "2001:db8::1"),
    ]
    await team.remove_member("eth2")
    probe = bench.plane.plans[team.id]["probe"]
    assert probe is not None
    assert {ask["member"] for ask in probe["asks"]} == {eth1}
    await team.change({"probe": {"every": "0"}})
    assert bench.plane.plans[team.id]["probe"] is None


async def test_a_deaf_member_is_shown_and_told(bench: Bench) -> None:
    team = await bench.started()
    eth1 = team.members["eth1"].id
    await team.upkeep.happened(Probed(member=eth1, heard=False, epoch=1))
    assert bench.plane.plans[team.id]["transmit"] == [team.members["eth2"].id]
    first, second = team.view().members()
    assert (first["role"], first["heard"], first["operstate"]) == ("deaf", False, "UP")
    assert (second["role"], second["probes"]["sent"]) == ("active", 9)
    assert bench.said("probe") == [{"member": "eth1", "heard": False}]
    await team.upkeep.happened(Probed(member=eth1, heard=True, epoch=2))
    assert team.view().members()[0]["role"] == "waiting"


async def test_lost_events_tell_who_hears(bench: Bench) -> None:
    team = await bench.started()
    bench.plane.heard[team.members["eth1"].id] = False
    bench.plane.link_epoch = 5
    await team.upkeep.happened(EventsLost(count=1))
    assert bench.plane.plans[team.id]["transmit"] == [team.members["eth2"].id]


async def test_a_port_that_refuses_frames_wakes_the_team_later(bench: Bench) -> None:
    team = await bench.started()
    eth1 = team.members["eth1"].id
    await team.upkeep.happened(SendingFailed(time=9, member=eth1, count=16, epoch=1))
    assert bench.plane.plans[team.id]["transmit"] == [team.members["eth2"].id]
    assert bench.said("tx-errors") == [{"member": "eth1", "count": 16}]
    assert team.upkeep.next_due() is not None
    await team.upkeep.due()


def test_probe_events_are_read() -> None:
    assert from_native({"kind": "probe", "time": 5, "member": 1, "heard": False, "epoch": 3}) == (
        Probed(time=5, member=1, heard=False, epoch=3)
    )
    found = from_native({"kind": "tx-errors", "time": 5, "member": 1, "count": 9, "epoch": 3})
    assert found == SendingFailed(time=5, member=1, count=9, epoch=3)


# measuring


def alb(bench: Bench, team: RunningTeam, busy: int) -> None:
    """A second more: shares of one member carry much, all others little."""
    plan = bench.plane.plans[team.id]
    before = bench.plane.shares.get(team.id) or [0] * len(plan["transmit"])
    bench.plane.shares[team.id] = [
        total + (3_000_000 if member == busy else 1_000)
        for total, member in zip(before, plan["transmit"], strict=True)
    ]


async def test_measured_load_moves_shares_and_little_load_does_not(bench: Bench) -> None:
    team = await bench.started(TEXT.replace("[team]", '[team]\nmode = "balance-alb"'))
    eth1 = team.members["eth1"].id
    assert team.upkeep.measures
    before = bench.plane.plans[team.id]
    for _ in range(2):
        alb(bench, team, 0)
        await team.upkeep.measure()
    assert bench.plane.plans[team.id]["epoch"] == before["epoch"]
    for _ in range(2):
        alb(bench, team, eth1)
        await team.upkeep.measure()
    after = bench.plane.plans[team.id]
    assert after["transmit"].count(eth1) < before["transmit"].count(eth1)
    table = after["transmit"]
    bench.plane.shares[team.id] = [0] * 256  # the sums begin anew with a table
    await team.upkeep.measure()
    assert bench.plane.plans[team.id]["transmit"] == table


async def test_links_speeds_weigh(bench: Bench) -> None:
    bench.system.speeds.update(eth1=10_000, eth2=1_000)
    team = await bench.started(TEXT.replace("[team]", '[team]\nmode = "balance-alb"'))
    shares = bench.plane.plans[team.id]["transmit"]
    assert shares.count(team.members["eth1"].id) == 233
    bench.system.speeds["eth2"] = 10_000
    await team.upkeep.measure()
    assert bench.plane.plans[team.id]["transmit"].count(team.members["eth1"].id) == 128


async def test_who_can_send_a_foreign_address_is_asked_only_where_it_matters(
    bench: Bench,
) -> None:
    team = await bench.started()
    before = team.upkeep.measures
    await team.change({"delivery": "direct"})
    assert (before, team.upkeep.measures) == (False, True)
    eth1 = team.members["eth1"].id
    bench.plane.foreign[eth1] = True
    await team.upkeep.measure()
    assert bench.plane.plans[team.id]["direct"] == [eth1]
    assert team.view().team()["direct"] == ["eth1"]


async def test_where_members_cannot_hear_each_other_the_operator_says_what_a_wire_takes(
    bench: Bench,
) -> None:
    text = TEXT.replace('interface = "eth1"', 'interface = "eth1"\nforeign_mac = true')
    team = await bench.started(text.replace("[team]", '[team]\ndelivery = "direct"'))
    assert bench.plane.plans[team.id]["direct"] == [team.members["eth1"].id]

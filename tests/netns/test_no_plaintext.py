"""What an eavesdropper on every wire sees while things go wrong: never the plaintext."""

import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.netns.frames import (
    ETH_IPV4,
    ETH_LOCAL,
    ETH_MPLS,
    ETH_PPPOE,
    ETH_QINQ,
    ETH_VLAN,
    ipv4,
    mac,
    malformed,
    send,
    udp,
)
from tests.netns.running import Esprit, listening, protected, transfer

from esprit.demo.lab import Host, Lab, Switch, await_true

NEEDLE = b"esprit-plaintext-test-needle-" + bytes(range(32))
LEFT, RIGHT = "10.9.0.1", "10.9.0.2"
TIMES = 20

#: Sends datagrams without end, and says when it did so.
SENDER = """
import contextlib, socket, sys, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    with contextlib.suppress(OSError):
        sender.sendto(bytes.fromhex(sys.argv[2]), (sys.argv[1], 9001))
    print(time.monotonic_ns(), flush=True)
    time.sleep(0.005)
"""

RECEIVER = """
import socket, sys, time
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("", 9001))
print(0, flush=True)
while receiver.recv(2048):
    print(time.monotonic_ns(), flush=True)
"""


@pytest.fixture
def pair(lab: Lab, tmp_path: Path) -> Iterator[tuple[Switch, Esprit, Esprit]]:
    """Two teams that protect everything between them; left has another NIC and a default route."""
    switch, left, right = lab.switch(), lab.host("left"), lab.host("right")
    for interface in ("eth1", "eth2", "eth9"):
        switch.plug(left, interface)
    for interface in ("eth1", "eth9"):
        switch.plug(right, interface)
    ours, theirs = Esprit(left, tmp_path / "left"), Esprit(right, tmp_path / "right")
    for host, end in ((left, "10.200.0.1/24"), (right, "10.200.0.2/24")):
        host.ip("address", "add", end, "dev", "eth9")
        host.ip("link", "set", "eth9", "up")
    # Where a route over the team went away, the host would send by this one, in clear.
    left.ip("route", "add", "default", "via", "10.200.0.2")
    ours.up(protected(LEFT, RIGHT, "eth1", "eth2"))
    theirs.up(protected(RIGHT, LEFT, "eth1", out="b", into="a"))
    yield switch, ours, theirs
    ours.close()
    theirs.close()


@contextmanager
def telling(host: Host, script: str, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A script that prints the time whenever it did something."""
    process = host.start(sys.executable, "-c", script, *arguments, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def happened_since(process: "subprocess.Popen[bytes]", moment: int, times: int = 1) -> None:
    """Wait until a script did its part so often after a moment."""
    assert process.stdout is not None
    for line in process.stdout:
        times -= int(line) > moment
        if times <= 0:
            return
    raise AssertionError("the script ended")


def every_port(switch: Switch) -> list[str]:
    return sorted(name for name in switch.interfaces() if "-" in name)


def test_nothing_is_plain_while_the_process_is_killed_and_started_again(
    pair: tuple[Switch, Esprit, Esprit],
) -> None:
    switch, left, right = pair
    with listening(switch, every_port(switch), NEEDLE) as seen:
        with (
            telling(right.host, RECEIVER) as receiver,
            telling(left.host, SENDER, RIGHT, NEEDLE.hex()) as sender,
        ):
            happened_since(receiver, time.monotonic_ns(), TIMES)
            assert left.end(signal.SIGKILL) == -signal.SIGKILL
            # The host goes on sending into a team that nobody serves.
            happened_since(sender, time.monotonic_ns(), 5 * TIMES)
            left.up(protected(LEFT, RIGHT, "eth1", "eth2"))
            happened_since(receiver, time.monotonic_ns(), TIMES)
        # The eavesdropper would have seen it: the same bytes, sent by the other NIC in clear.
        with telling(left.host, SENDER, "10.200.0.2", NEEDLE.hex()) as sender:
            happened_since(sender, time.monotonic_ns(), TIMES)
    assert {port["drops"] for port in seen.values()} == {0}
    assert seen["left-eth1"]["esp"] > TIMES
    assert {port: bool(one["found"][0]) for port, one in seen.items()} == {
        "left-eth1": False,
        "left-eth2": False,
        "left-eth9": True,
        "right-eth1": False,
        "right-eth9": True,
    }
    # What the other NIC carried in clear was meant for it: nothing of the team's peer.
    clear = [bytes.fromhex(frame) for frame in seen["left-eth9"]["hits"]]
    assert all(bytes((10, 200, 0, 2)) in frame for frame in clear)


def test_nothing_is_plain_with_no_sa_no_engine_or_no_member(
    pair: tuple[Switch, Esprit, Esprit],
) -> None:
    switch, left, right = pair

    def sent(sender: "subprocess.Popen[bytes]") -> None:
        happened_since(sender, time.monotonic_ns(), TIMES)

    with (
        listening(switch, every_port(switch), NEEDLE) as seen,
        telling(right.host, RECEIVER) as receiver,
        telling(left.host, SENDER, RIGHT, NEEDLE.hex()) as sender,
    ):
        happened_since(receiver, time.monotonic_ns(), TIMES)
        assert left.command("engine", "remove", "worker").returncode == 0
        sent(sender)
        assert left.command("sa", "delete", "out").returncode == 0
        sent(sender)
        for member in ("eth1", "eth2"):
            switch.pull(left.host, member)
        sent(sender)
        for member in ("eth1", "eth2"):
            switch.insert(left.host, member)
        sent(sender)
        (team,) = left.ask("team", "show")
    assert {port["drops"] for port in seen.values()} == {0}
    assert {port["found"][0] for port in seen.values()} == {0}
    assert team["drops"]["no-sa"] > 0


TAG, SERVICE_TAG = struct.pack(">HH", 7, ETH_IPV4), struct.pack(">HHHH", 9, ETH_VLAN, 7, ETH_IPV4)
PPPOE = struct.pack(">BBHHH", 0x11, 0, 1, 200, 0x0021)
MPLS = struct.pack(">I", 16 << 12 | 1 << 8 | 64)


@pytest.mark.parametrize(
    ("ethertype", "between"),
    [(ETH_IPV4, b""), (ETH_VLAN, TAG), (ETH_QINQ, SERVICE_TAG)],
    ids=["untagged", "802.1Q", "802.1ad"],
)
def test_tagged_packets_are_protected_like_bare_ones(
    pair: tuple[Switch, Esprit, Esprit], ethertype: int, between: bytes
) -> None:
    switch, left, right = pair
    with listening(switch, every_port(switch), NEEDLE) as seen:
        send(left.host, "team0", frames(left, right, ethertype, between))
    assert {port["drops"] for port in seen.values()} == {0}
    assert {port["found"][0] for port in seen.values()} == {0}
    # They may share super-frames; the peer counts them one by one.
    assert seen["left-eth1"]["esp"] > 0
    assert await_accepted(right, TIMES)


@pytest.mark.parametrize(
    ("ethertype", "between"),
    [(ETH_PPPOE, PPPOE), (ETH_MPLS, MPLS), (ETH_VLAN, struct.pack(">HH", 7, ETH_PPPOE) + PPPOE)],
    ids=["PPPoE", "MPLS", "PPPoE in 802.1Q"],
)
def test_what_hides_its_packets_is_dropped_and_counted(
    pair: tuple[Switch, Esprit, Esprit], ethertype: int, between: bytes
) -> None:
    switch, left, right = pair
    with listening(switch, every_port(switch), NEEDLE) as seen:
        send(left.host, "team0", frames(left, right, ethertype, between))
        await_true(
            lambda: left.ask("team", "show")[0]["drops"].get("encapsulated", 0) >= TIMES,
            "the drops",
        )
    assert {port["drops"] for port in seen.values()} == {0}
    assert {port["found"][0] for port in seen.values()} == {0}


def test_other_ethertypes_pass_as_they_are(pair: tuple[Switch, Esprit, Esprit]) -> None:
    switch, left, right = pair
    with listening(switch, every_port(switch), NEEDLE) as seen:
        send(left.host, "team0", frames(left, right, ETH_LOCAL, b""))
        await_true(lambda: received(right) >= TIMES, "the frames")
    assert seen["left-eth1"]["found"] == [TIMES]
    assert seen["right-eth1"]["found"] == [TIMES]


def frames(left: Esprit, right: Esprit, ethertype: int, between: bytes) -> list[bytes]:
    """Frames between the teams with the needle in a UDP datagram."""
    ends = mac(right.host, "team0") + mac(left.host, "team0")
    packet = ipv4(LEFT, RIGHT, 17, udp(9002, 9002, NEEDLE))
    return [ends + struct.pack(">H", ethertype) + between + packet] * TIMES


def received(team: Esprit) -> int:
    (member,) = team.ask("member", "show", "eth1")
    return int(member["stats64"]["rx"]["packets"])


def await_accepted(team: Esprit, packets: int) -> bool:
    """Whether the SA that opens accepts so many packets."""
    await_true(lambda: team.ask("sa", "show", "in")[0]["packets"] >= packets, "the packets")
    return True


def test_malformed_frames_are_counted_drops_and_harm_nothing(
    pair: tuple[Switch, Esprit, Esprit], lab: Lab
) -> None:
    switch, left, right = pair
    rogue = lab.host("rogue")
    switch.plug(rogue, "eth0")
    rogue.ip("link", "set", "eth0", "up")
    bad = list(malformed(mac(left.host, "team0"), mac(rogue, "eth0"), LEFT, RIGHT))
    before = dropped(left)
    send(rogue, "eth0", bad)
    # The last of them are random: all are in once the drops no longer grow with what was sent.
    expected = len(bad) // 4
    await_true(lambda: dropped(left) - before > expected, "the drops")
    assert transfer(left.host, right.host, RIGHT, NEEDLE, 100) == 100 * len(NEEDLE)
    assert left.process is not None
    assert left.process.poll() is None
    # Nor does what comes out of the host's own stack: the same frames through the team.
    send(left.host, "team0", bad)
    assert transfer(left.host, right.host, RIGHT, NEEDLE, 100) == 100 * len(NEEDLE)
    assert left.end() == 0


def dropped(team: Esprit) -> int:
    """All drops of a team, its members and its SAs."""
    places: list[dict[str, Any]] = [
        *team.ask("team", "show"),
        *team.ask("member", "show"),
        *team.ask("sa", "show"),
    ]
    return sum(sum(place["drops"].values()) for place in places)

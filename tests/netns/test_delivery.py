"""Direct or returned, on real devices: what `explain` says of it, and why."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.netns.running import Esprit, bundle

from esprit.demo.lab import Lab

LEFT, RIGHT = "10.9.0.1", "10.9.0.2"
TABLES = "".join(
    f'[[member]]\ninterface = "{name}"\nforeign_mac = true\n' for name in ("eth1", "eth2")
)


@pytest.fixture
def left(lab: Lab, tmp_path: Path) -> Iterator[Esprit]:
    switch, host = lab.switch(), lab.host("left")
    for interface in ("eth1", "eth2"):
        switch.plug(host, interface)
    # A neighbour that answers: without its Ethernet address nothing would leave.
    peer = lab.host("right")
    switch.plug(peer, "eth1")
    peer.ip("address", "add", f"{RIGHT}/24", "dev", "eth1")
    peer.ip("link", "set", "eth1", "up")
    team = Esprit(host, tmp_path / "left")
    yield team
    team.close()


def of_eth2(team: Esprit) -> dict[str, Any]:
    """What is said of a flow that belongs to eth2."""
    for port in range(1000, 1064):
        found = dict(team.ask("explain", f"udp:{LEFT}:{port}->{RIGHT}:9001"))
        if found["member"] == "eth2":
            return found
    raise AssertionError("64 flows are all of one member")


def own(team: Esprit, *keys: str) -> None:
    """Give eth1 the one engine that others may use, instead of what it had."""
    if any(one["ifname"] == "eth1" for one in team.ask("engine", "show")):
        assert team.command("engine", "remove", "own").returncode == 0
    done = team.command("engine", "add", "own", "--member", "eth1", "kind=asic", *keys)
    assert done.returncode == 0, done.stderr


def test_auto_says_which_delivery_and_why(left: Esprit) -> None:
    text = bundle(LEFT, RIGHT, "eth1", "eth2").replace(
        "".join(f'[[member]]\ninterface = "{name}"\n' for name in ("eth1", "eth2")), TABLES
    )
    assert text.count("foreign_mac") == 2
    left.up(text.replace("[team]\n", '[team]\ndelivery = "auto"\n'))
    # The way back takes longer than two idle queues.
    own(left, "transfer=1ms")
    found = of_eth2(left)
    assert (found["engine"], found["class"]) == ("own", "secondary")
    assert (found["delivery"], found["deliverer"], found["returned"]) == ("direct", "eth1", "")
    assert "directly" in found["why"]
    # No way at all: there is nothing to win.
    own(left)
    found = of_eth2(left)
    assert (found["engine"], found["delivery"], found["deliverer"]) == ("own", "return", "eth2")
    assert found["returned"] == "it costs less"

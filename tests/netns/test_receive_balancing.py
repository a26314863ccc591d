"""Receive balancing on real devices: what peers are told, and where they send from then on."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.netns.running import Esprit, plain

from esprit.demo.lab import Host, Lab, Switch, await_true

OURS = "10.9.0.1"
PEERS = {f"peer{number}": f"10.9.0.{10 + number}" for number in range(1, 5)}
MEMBERS = ("eth1", "eth2")


@pytest.fixture
def network(lab: Lab, tmp_path: Path) -> Iterator[tuple[Switch, Esprit, dict[str, Host]]]:
    """A team of two members and four ordinary hosts on one switch."""
    switch, left = lab.switch(), lab.host("left")
    for interface in MEMBERS:
        switch.plug(left, interface)
    peers = {name: lab.host(name) for name in PEERS}
    for name, host in peers.items():
        switch.plug(host, "eth1")
        host.ip("address", "add", f"{PEERS[name]}/24", "dev", "eth1")
        host.ip("link", "set", "eth1", "up")
    team = Esprit(left, tmp_path / "left")
    yield switch, team, peers
    team.close()


def told(peers: dict[str, Host]) -> dict[str, str]:
    """The hardware address that each peer has for the team."""
    found = {}
    for name, host in peers.items():
        for entry in host.show("neigh", "show", OURS):
            if "lladdr" in entry:
                found[name] = str(entry["lladdr"])
    return found


def agrees(peers: dict[str, Host], addresses: set[str]) -> bool:
    """Whether these are the addresses that peers have, all of them together."""
    return set(told(peers).values()) == addresses


def reach(peers: dict[str, Host]) -> None:
    """Each peer gets answers from the team."""
    for host in peers.values():
        host.run("ping", "-c", "3", "-i", "0.2", "-W", "5", OURS)


def test_peers_send_to_different_members_and_are_told_when_one_fails(
    network: tuple[Switch, Esprit, dict[str, Host]],
) -> None:
    switch, team, peers = network
    more = f'mode = "balance-alb"\nreceive = "balance"\naddress = "{OURS}/24"\n'
    team.up(plain(*MEMBERS, more=more))
    address = {team.host.link(name)["address"]: name for name in MEMBERS}
    # The team answers who asks: that is what it spreads peers by.
    reach(peers)
    by = {name: address.get(mac) for name, mac in told(peers).items()}
    assert set(by) == set(PEERS)
    assert set(by.values()) == set(MEMBERS), "all peers send to one member"
    for failed, left_over in (MEMBERS, MEMBERS[::-1]):
        switch.pull(team.host, failed)
        (mac,) = (mac for mac, name in address.items() if name == left_over)
        await_true(partial(agrees, peers, {mac}), f"the peers of {failed} are told")
        reach(peers)
        switch.insert(team.host, failed)
        # They are spread again once it is back.
        await_true(partial(agrees, peers, set(address)), f"{failed} is back")
        reach(peers)
    assert team.end() == 0

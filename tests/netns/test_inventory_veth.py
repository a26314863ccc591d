"""The inventory of a namespace of its own: it asks, and changes nothing."""

import json
import sys

from tests.netns.running import system

from esprit.demo.lab import Lab

_DENIED = """
import asyncio, json
from esprit.control.netlink import Netlink
from esprit.inventory import Question, interfaces

async def main():
    async with Netlink() as netlink:
        found = await interfaces(netlink, Question(deny=[{"driver": "veth", "bus": "*"}]))
        print(json.dumps({one.name: one.refusal for one in found}))

asyncio.run(main())
"""


def test_a_veth_is_seen_for_what_it_is_and_a_rule_refuses_it(lab: Lab) -> None:
    host = lab.host("left")
    host.ip("link", "add", "eth1", "type", "veth", "peer", "name", "eth2")
    host.ip("link", "set", "eth1", "up")
    host.ip("link", "set", "eth2", "up")
    host.ip("addr", "add", "192.0.2.1/24", "dev", "eth2")
    before = system(host)

    found = json.loads(host.run(sys.executable, "-m", "esprit", "inventory", "-j"))
    by_name = {one["ifname"]: one for one in found}
    eth1, eth2 = by_name["eth1"], by_name["eth2"]
    assert (eth1["kind"], eth1["driver"], eth1["vendor"]) == ("veth", "veth", None)
    assert eth1["speed"] == 10_000  # what every veth says
    assert eth1["features"]["tx-tcp-segmentation"] == {
        "advertised": True,
        "accepted": True,
        "verified": None,
    }
    assert (eth1["verdict"], eth1["refusal"]) == ("take", "")
    assert eth2["verdict"] == "refuse"
    assert "192.0.2.1/24" in eth2["refusal"]

    denied = json.loads(host.run(sys.executable, "-c", _DENIED))
    assert denied["eth1"] == 'is denied by deny = { driver = "veth", bus = "*" }'
    assert system(host) == before

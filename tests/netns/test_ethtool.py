"""What is asked by ethtool netlink, against ethtool itself and against real devices."""

import json
import re
import sys
from pathlib import Path

import pytest
from tests.netns.running import Esprit, plain

from esprit.demo.lab import Host, Lab

_ASK = """
import dataclasses, json, sys
from esprit.inventory import ethtool
found = ethtool.features(sys.argv[1])
print(json.dumps({name: dataclasses.asdict(one) for name, one in found.items()}))
"""

_SET = """
import sys
from esprit.inventory import ethtool
ethtool.set_feature(sys.argv[1], sys.argv[2], on=sys.argv[3] == "on")
"""

_REFUSED = """
import errno
from esprit.inventory import ethtool
for ask in (
    lambda: ethtool.features("nowhere"),
    lambda: ethtool.set_feature("nowhere", "rx-gro", on=True),
    lambda: ethtool.set_feature("eth1", "no-such-feature", on=True),
):
    try:
        ask()
    except OSError as error:
        print(error.errno == errno.ENODEV, error.errno == errno.EOPNOTSUPP)
print(ethtool.speed("nowhere"), ethtool.speed("lo"), ethtool.speed("eth1"))
"""


@pytest.fixture
def host(lab: Lab) -> Host:
    found = lab.host("left")
    found.ip("link", "add", "eth1", "type", "veth", "peer", "name", "eth2")
    found.ip("link", "add", "br1", "type", "bridge")
    found.ip("tuntap", "add", "tap1", "mode", "tap")
    for name in ("eth1", "eth2", "br1", "tap1"):
        found.ip("link", "set", name, "up")
    return found


def asked(host: Host, interface: str) -> dict[str, dict[str, bool]]:
    found = json.loads(host.run(sys.executable, "-c", _ASK, interface))
    return {str(name): dict(one) for name, one in found.items()}


@pytest.mark.parametrize("interface", ["eth1", "br1", "tap1", "lo"])
def test_every_feature_is_as_ethtool_says(host: Host, interface: str) -> None:
    found = asked(host, interface)
    # A name that ethtool has for a group of the kernel's features is none of ours.
    lines = re.findall(
        r"^\s*([\w-]+): (on|off)( \[fixed\])?",
        host.run("ethtool", "-k", interface),
        re.MULTILINE,
    )
    common = {name: (value, fixed) for name, value, fixed in lines if name in found}
    assert {"tx-tcp-segmentation", "rx-udp-gro-forwarding", "esp-hw-offload"} <= set(common)
    for name, (value, fixed) in common.items():
        one = found[name]
        assert (one["active"], one["changeable"]) == (value == "on", not fixed), name
        assert one["advertised"] == (value == "on" or not fixed), name


def test_a_feature_is_switched_and_put_back(host: Host) -> None:
    before = asked(host, "eth1")
    assert before["rx-gro"] == {"advertised": True, "active": False, "changeable": True}
    host.run(sys.executable, "-c", _SET, "eth1", "rx-gro", "on")
    assert "generic-receive-offload: on" in host.run("ethtool", "-k", "eth1")
    assert asked(host, "eth1") == {**before, "rx-gro": {**before["rx-gro"], "active": True}}
    host.run(sys.executable, "-c", _SET, "eth1", "rx-gro", "off")
    assert asked(host, "eth1") == before


def test_what_cannot_be_is_said_by_its_number(host: Host) -> None:
    *numbers, speeds = host.run(sys.executable, "-c", _REFUSED).splitlines()
    assert numbers == ["True False", "True False", "False True"]
    assert speeds == "None None 10000", "what every veth says"


def test_features_of_a_live_team_keep_the_columns_apart(lab: Lab, tmp_path: Path) -> None:
    switch, left = lab.switch(), lab.host("left")
    for interface in ("eth1", "eth2"):
        switch.plug(left, interface)
    left.run("ethtool", "-K", "eth1", "tx-tcp-segmentation", "off")
    team = Esprit(left, tmp_path / "left")
    try:
        team.up(plain("eth1", "eth2"))
        found = {one["feature"]: one for one in team.ask("features")}
        columns = {
            name: {
                one["name"]: (one["advertised"], one["accepted"], one["verified"])
                for one in found[name]["candidates"]
                if one["kind"] == "member"
            }
            for name in ("tx-tcp-segmentation", "generic-receive-offload", "esp-hw-offload")
        }
    finally:
        team.close()
    assert columns == {
        "tx-tcp-segmentation": {"eth1": (True, False, None), "eth2": (True, True, None)},
        # The team switched it on.
        "generic-receive-offload": {"eth1": (True, True, None), "eth2": (True, True, None)},
        # No veth has it.
        "esp-hw-offload": {},
    }
    assert found["tx-tcp-segmentation"]["providers"] == ["data plane", "eth2"]

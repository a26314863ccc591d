"""Scenarios in files: what is wrong is told in one line with file, key and remedy."""

import struct
from pathlib import Path

import pytest

from esprit import sim
from esprit.errors import ConfigInvalid, ConfigSyntax, ConfigUnreadable
from esprit.sim import expect

GOOD = """
name = "good"
[team]
name = "team0"
mode = "balance-alb"
[[team.member]]
interface = "eth1"
[[traffic]]
name = "all"
rate = "1G"
"""


def test_a_small_file_has_defaults() -> None:
    found = sim.read(GOOD)
    assert found.teams[0].members[0].interface == "eth1"
    assert found.traffic[0].team == "team0"
    assert found.control_ns == 1_000_000


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (('rate = "1G"', 'rate = "1X"'), "here: traffic 1 (all): rate: "),
        (('rate = "1G"', ""), "here: traffic all: rate: write one of rate and load"),
        (('rate = "1G"', 'rate = "1G"\nasks = true'), "here: traffic all: asks: is of peers that"),
        (('mode = "balance-alb"', "colour = 1"), "here: team team0: colour: is not known here"),
        (('rate = "1G"', 'rate = "1G"\nsize = 1590'), "here: traffic all: size: 1590 is no size"),
        (('[[traffic]]\nname = "all"\nrate = "1G"', ""), "here: traffic: is missing, and so is"),
        (('name = "good"', 'name = "good"\nexpect = ["x = 1"]'), "here: expect 'x = 1': "),
        (
            ("[[traffic]]", '[[fault]]\nat = "1ms"\nkind = "die"\nengine = "x"\n[[traffic]]'),
            "engine: is none of the engines; name one",
        ),
    ],
)
def test_a_fault_is_one_line(change: tuple[str, str], line: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        sim.read(GOOD.replace(*change, 1), source="here")
    assert len(caught.value.lines) == 1
    assert line in caught.value.lines[0]


def test_what_is_no_toml_or_not_there_is_said() -> None:
    with pytest.raises(ConfigSyntax):
        sim.read("name =")
    with pytest.raises(ConfigUnreadable, match="shipped are"):
        sim.load("nowhere")


def test_a_capture_is_sent_again(tmp_path: Path) -> None:
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    records = b"".join(struct.pack("<IIII", 7, at, 60, 60) + bytes(60) for at in (100, 150, 1100))
    (tmp_path / "small.pcap").write_bytes(head + records)
    text = GOOD.replace('rate = "1G"', 'pattern = "pcap"\npcap = "small.pcap"')
    found = sim.read(text, folder=tmp_path)
    assert found.traffic[0].packets == ((0, 46), (50_000, 46), (1_000_000, 46))
    assert sim.run(found).figures["sent"] == 3


def test_expectations_compare_figures() -> None:
    line = expect.parse("a.b-c >= 0.98")
    assert line.holds({"a.b-c": 1.0})
    assert not line.holds({"a.b-c": 0.9})
    assert not line.holds({})

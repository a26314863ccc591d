"""Applications' tasks on a running team's pool, and rules that keep an interface out of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.netns.running import Esprit, plain, system, team_file

from esprit.demo.lab import Lab

ENGINES = """
[[engine]]
name = "fast"
kind = "asic"
rate = "200M"
[[engine]]
name = "slow"
kind = "asic"
rate = "100M"
"""


@pytest.fixture
def esprit(lab: Lab, tmp_path: Path) -> Iterator[Esprit]:
    switch, host = lab.switch(), lab.host("left")
    for interface in ("eth1", "eth2"):
        switch.plug(host, interface)
    made = Esprit(host, tmp_path / "left")
    yield made
    made.close()


def test_the_team_s_engines_share_the_load_and_it_is_said_who_did_what(esprit: Esprit) -> None:
    esprit.up(plain("eth1", "eth2") + ENGINES)
    found = esprit.ask("load", "--seconds", "0.5", "--packets", "8")
    assert (found["lost"], found["bad"]) == (0, 0)
    assert {one["name"] for one in found["engines"]} == {"fast", "slow"}
    assert all(one["share"] > 0 and one["simulated"] for one in found["engines"])
    assert sum(one["share"] for one in found["engines"]) == pytest.approx(1)
    done = esprit.command("load", "--seconds", "60")
    assert done.returncode != 0
    assert "ask several times" in done.stderr
    assert esprit.end() == 0


def test_what_a_rule_denies_is_refused_by_up_and_by_the_inventory(esprit: Esprit) -> None:
    text = plain("eth1", "eth2").replace("[team]", '[team]\ndeny = [{ interface = "eth2" }]', 1)
    before = system(esprit.host)
    code, said = esprit.refused(text)
    assert code == 4
    assert "eth2" in said
    assert "denied" in said
    assert system(esprit.host) == before
    file = team_file(esprit.folder / "denied.toml", text)
    found = {one["ifname"]: one for one in esprit.ask("inventory", "--config", str(file))}
    assert (found["eth1"]["verdict"], found["eth2"]["verdict"]) == ("take", "refuse")
    assert system(esprit.host) == before

"""The demonstration's own configuration is one that any user could have written."""

from pathlib import Path

import pytest

from esprit import config
from esprit.demo.keys import Keyring
from esprit.demo.teams import CONNECTIONS, LEFT_MEMBERS, team_file


@pytest.fixture
def keyring() -> Keyring:
    made = Keyring(CONNECTIONS)
    for member in LEFT_MEMBERS:
        made.bundle(str(member["interface"]))
    for connection in CONNECTIONS:
        made.make(connection, "right", None)
    return made


@pytest.mark.parametrize("host", ["left", "right"])
def test_the_files_are_accepted_as_they_are(keyring: Keyring, tmp_path: Path, host: str) -> None:
    file = team_file(tmp_path / "team.toml", host, keyring)
    team = config.load(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert {sa.direction for sa in team.sas} == {"out", "in"}
    assert {policy.action for policy in team.policies} == {"protect", "bypass"}


def test_members_are_unlike_and_one_engine_belongs_to_none(
    keyring: Keyring, tmp_path: Path
) -> None:
    team = config.load(team_file(tmp_path / "team.toml", "left", keyring))
    engines = {member.interface: member.engine for member in team.members}
    assert engines["eth2"] is None
    assert engines["eth3"] is not None
    assert engines["eth3"].inline
    assert not engines["eth3"].lookaside
    assert {engine.kind for engine in team.engines} == {"asic", "cpu"}


def test_both_ends_agree_on_every_sa(keyring: Keyring) -> None:
    left = {sa["spi"]: sa for sa in keyring.tables("left")}
    right = {sa["spi"]: sa for sa in keyring.tables("right")}
    assert left.keys() == right.keys()
    for spi, sa in left.items():
        peer = right[spi]
        assert {sa["direction"], peer["direction"]} == {"out", "in"}
        assert [sa[key] for key in ("src", "dst", "mode", "key", "esn")] == [
            peer[key] for key in ("src", "dst", "mode", "key", "esn")
        ]


def test_a_replaced_sa_has_a_new_spi_and_key_and_the_old_one_still_opens(keyring: Keyring) -> None:
    old = keyring.current[0]
    new = keyring.make(old.connection, old.sender, old.member)
    assert new.name == old.name
    assert (new.spi, new.material) != (old.spi, old.material)
    assert keyring.keys().keys() >= {old.spi, new.spi}
    assert old not in keyring.current


def test_no_key_is_shown(keyring: Keyring) -> None:
    pair = keyring.current[0]
    assert pair.material.hex() not in repr(pair) + repr(pair.key())
    assert repr(pair.material) not in repr(pair) + repr(pair.key())

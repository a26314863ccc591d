"""Files, their permissions, key files, and the tables of requests."""

import os
from pathlib import Path

import pytest

from esprit import config
from esprit.errors import ConfigInvalid, ConfigUnreadable, KeyExposed
from esprit.model import Key

KEY = "5a" * 16 + "01020304"
PLAIN = '[team]\nname = "team0"\n[[member]]\ninterface = "eth1"\n'
KEYED = (
    PLAIN
    + """
[[engine]]
name = "cores"
kind = "cpu"
[[policy]]
name = "sites"
local = "10.1.0.0/16"
remote = "10.2.0.0/16"
[[sa]]
name = "out"
direction = "out"
spi = 1000
src = "10.0.0.1"
dst = "10.0.0.2"
"""
)


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.touch()
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_file_without_keys_may_be_read_by_all(tmp_path: Path) -> None:
    assert config.load(write(tmp_path / "t.toml", PLAIN, 0o644)).team.name == "team0"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigUnreadable, match="No such file"):
        config.load(tmp_path / "t.toml")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "fifo"])
def test_what_is_no_plain_file(tmp_path: Path, make: object) -> None:
    path = tmp_path / "t.toml"
    assert callable(make)
    make(path)
    with pytest.raises(ConfigUnreadable):
        config.load(path)


def test_what_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigUnreadable, match="UTF-8"):
        config.load(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_file_with_keys_is_its_owner_s_alone(tmp_path: Path, mode: int) -> None:
    text = f'{KEYED}key = "{KEY}"\n'
    path = write(tmp_path / "t.toml", text, mode)
    with pytest.raises(KeyExposed) as caught:
        config.load(path)
    assert str(path) in str(caught.value)
    assert "chmod 600" in str(caught.value)
    path.chmod(0o600)
    assert config.load(path).sas[0].key == Key.from_hex(KEY)


def test_a_file_with_faults_and_keys_is_refused_for_the_keys_first(tmp_path: Path) -> None:
    with pytest.raises(KeyExposed):
        config.load(write(tmp_path / "t.toml", f'{KEYED}key = "00"\n', 0o644))


def test_a_key_file_is_found_beside_the_configuration(tmp_path: Path) -> None:
    write(tmp_path / "out.key", KEY + "\n")
    found = config.load(write(tmp_path / "t.toml", f'{KEYED}key_file = "out.key"\n', 0o644))
    assert found.sas[0].key == Key.from_hex(KEY)


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        (KEY, 0o644, "can be read by others; chmod 600 it"),
        (KEY, 0o640, "can be read by others; chmod 600 it"),
        (KEY[:-2], 0o600, "19 bytes are no key"),
        ("secret-words-here", 0o600, "is not hexadecimal"),
        ("", 0o600, "0 bytes are no key"),
        (KEY * 40, 0o600, "is no key file"),
    ],
)
def test_a_key_file_with_a_fault(tmp_path: Path, text: str, mode: int, why: str) -> None:
    path = write(tmp_path / "out.key", text, mode)
    with pytest.raises(ConfigInvalid) as caught:
        config.load(write(tmp_path / "t.toml", f'{KEYED}key_file = "out.key"\n'))
    (line,) = caught.value.lines
    assert f"t.toml: sa out: key_file: {path} " in line
    assert why in line
    assert KEY[:8] not in line
    assert "secret-words" not in line


def test_a_key_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"out\.key cannot be read: No such file"):
        config.load(write(tmp_path / "t.toml", f'{KEYED}key_file = "out.key"\n'))


SA = {"name": "a", "direction": "in", "spi": 1000, "src": "10.0.0.2", "dst": "10.0.0.1", "key": KEY}


def test_the_tables_of_requests() -> None:
    assert config.member({"interface": "eth3", "priority": 7}).priority == 7
    assert config.engine({"name": "more", "kind": "cpu", "threads": 0}).threads == 0
    assert config.sa(SA).key == Key.from_hex(KEY)
    policy = config.policy({"name": "p", "local": "10.0.0.0/8", "remote": "192.0.2.1"})
    assert str(policy.remote) == "192.0.2.1/32"


def test_a_request_with_a_fault_names_the_key() -> None:
    with pytest.raises(ConfigInvalid, match=r"^member: priorty: .* did you mean priority\?$"):
        config.member({"interface": "eth3", "priorty": 7})
    with pytest.raises(ConfigInvalid, match=r"^engine: name: is missing; add it$"):
        config.engine({"kind": "cpu"})
    with pytest.raises(ConfigInvalid, match=r"^engine: lookaside: "):
        config.engine({"name": "x", "kind": "asic", "lookaside": False, "inline": True})
    with pytest.raises(ConfigInvalid, match=r"^sa: key: 2 bytes are no key"):
        config.sa({**SA, "key": "abcd"})
    with pytest.raises(ConfigInvalid, match=r"^sa: key_file: is not read for a request"):
        config.sa({**{k: v for k, v in SA.items() if k != "key"}, "key_file": "/etc/shadow"})
    with pytest.raises(ConfigInvalid, match=r"^sa: spi: is missing; add it$"):
        config.sa({k: v for k, v in SA.items() if k != "spi"})


def test_no_error_s_chain_holds_a_key() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        config.sa({**SA, "key": KEY + "ff", "spi": 1})
    error: BaseException | None = caught.value
    assert error is not None
    assert error.__cause__ is None
    assert error.__suppress_context__, "a traceback would print the original error"
    assert KEY not in str(error)


def test_a_difference() -> None:
    old = config.read(f'{KEYED}key = "{KEY}"\n')
    same = config.read(f'{KEYED}key = "{KEY.upper()}"\n', source="elsewhere")
    assert not config.diff(old, same)
    text = KEYED.replace("eth1", "eth2").replace("spi = 1000", "spi = 1001")
    new = config.read(
        text.replace(
            "[[policy]]",
            '[[policy]]\nname = "new"\naction = "bypass"\nlocal = "10.9.0.0/16"\n'
            'remote = "10.8.0.0/16"\n[[policy]]',
        )
        + f'key = "{KEY}"\n'
    )
    found = config.diff(old, new)
    assert found
    assert [member.interface for member in found.members.added] == ["eth2"]
    assert [member.interface for member in found.members.removed] == ["eth1"]
    ((before, after),) = found.sas.changed
    assert (before.spi, after.spi) == (1000, 1001)
    assert [policy.name for policy in found.policies.added] == ["new"]
    assert not found.engines
    assert found.settings == ()
    assert not found.reordered


def test_a_new_key_and_a_new_setting_are_differences() -> None:
    old = config.read(f'{KEYED}key = "{KEY}"\n')
    new = config.read(f'{KEYED}key = "{"77" * 20}"\n'.replace('"team0"', '"team0"\nmtu = 1400'))
    found = config.diff(old, new)
    assert len(found.sas.changed) == 1
    assert found.settings == ("mtu",)
    assert KEY not in repr(found)


def test_policies_match_in_their_order() -> None:
    one = '[[policy]]\nname = "a"\naction = "bypass"\nlocal = "10.0.0.0/8"\nremote = "10.0.0.0/8"\n'
    two = one.replace('"a"', '"b"')
    assert config.diff(config.read(PLAIN + one + two), config.read(PLAIN + two + one)).reordered

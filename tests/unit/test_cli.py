"""The command line: what is printed, and where, and the exit code."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.control_fakes import FakeSystem
from tests.unit.served import serving_in_a_thread

from esprit.cli import main


@pytest.fixture
def run_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("ESPRIT_RUN", str(tmp_path / "run"))
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    return tmp_path


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, run_folder: Path) -> Iterator[None]:
    system = FakeSystem()
    for name in ("eth1", "eth2", "eth3"):
        system.add_link(name)
    system.patch(monkeypatch)
    with serving_in_a_thread(system, run_folder):
        yield


class Said:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def esprit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["esprit", *arguments])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return run


SHOWS = [
    ("team", "show"),
    ("team", "features"),
    ("features",),
    ("member", "show"),
    ("engine", "show"),
    ("sa", "show"),
    ("policy", "show"),
]


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("words", SHOWS, ids=" ".join)
def test_show_prints_json_and_plain_columns(esprit: object, words: tuple[str, ...]) -> None:
    assert callable(esprit)
    said = esprit(*words, "-j")
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    assert isinstance(found, list)
    assert len(found) >= 1
    said = esprit(*words)
    assert (said.code, said.err) == (0, "")
    assert "\x1b" not in said.out
    assert all(line == line.rstrip() for line in said.out.splitlines())


@pytest.mark.usefixtures("served")
def test_show_names_what_people_look_for(esprit: object) -> None:
    assert callable(esprit)
    assert "team0: UP mtu 1438" in esprit("team", "show").out
    assert "eth2" in esprit("member", "show").out
    assert "none, backed up by the team" in esprit("member", "show").out
    assert "asic (simulated)" in esprit("engine", "show").out
    assert "aes-128-gcm-16" in esprit("sa", "show").out
    assert "[built in]" in esprit("policy", "show").out
    assert "esp-hw-offload: off [fixed]" in esprit("features").out
    (one,) = json.loads(esprit("member", "show", "eth2", "-j").out)
    assert (one["ifname"], one["master"], one["operstate"]) == ("eth2", "team0", "UP")


@pytest.mark.usefixtures("served")
def test_changes_say_nothing_and_do_it(esprit: object, tmp_path: Path) -> None:
    assert callable(esprit)
    (tmp_path / "other").write_text("300102030405060708090a0b0c0d0e0f10111213\n")
    sa = tmp_path / "sa.toml"
    (tmp_path / "key").write_text("200102030405060708090a0b0c0d0e0f10111213\n")
    sa.write_text(
        '[[sa]]\nname = "new"\ndirection = "in"\nspi = 5000\nsrc = "10.0.0.2"\n'
        'dst = "10.0.0.1"\nkey_file = "key"\n'
    )
    policy = tmp_path / "policy.toml"
    policy.write_text(
        'name = "x"\naction = "bypass"\nlocal = "10.0.0.0/24"\nremote = "10.3.0.0/24"\n'
    )
    for words in (
        ("team", "mode", "balance-alb"),
        ("member", "remove", "eth2"),
        (
            "member",
            "add",
            "eth3",
            "--priority",
            "4",
            "--engine",
            "kind=asic",
            "--engine",
            "rate=1G",
        ),
        ("engine", "add", "more", "kind=cpu", "threads=0"),
        ("engine", "fault", "eth1-asic", "late", "50"),
        ("engine", "reset", "eth1-asic"),
        ("engine", "remove", "cores"),
        ("sa", "add", str(sa)),
        ("policy", "add", str(policy), "--before", "p"),
        (
            "policy",
            "replace",
            "x",
            "name=x",
            "action=discard",
            "local=10.0.0.0/24",
            "remote=10.3.0.0/24",
            "protocol=tcp",
            "remote_port=80-90",
        ),
        (
            "sa",
            "replace",
            "new",
            "direction=in",
            "spi=0x1400",
            "src=10.0.0.2",
            "dst=10.0.0.1",
            f"key_file={tmp_path / 'other'}",
        ),
        ("policy", "delete", "x"),
        ("sa", "delete", "new"),
    ):
        said = esprit(*words)
        assert (said.code, said.out, said.err) == (0, "", ""), words
    (team,) = json.loads(esprit("team", "show", "-j").out)
    assert team["mode"] == "balance-alb"
    assert [(m["ifname"], m["priority"], m["engine"]) for m in team["members"]] == [
        ("eth1", 0, "eth1-asic"),
        ("eth3", 4, "eth3-asic"),
    ]


@pytest.mark.usefixtures("served")
def test_errors_are_one_line_with_object_and_remedy(esprit: object, tmp_path: Path) -> None:
    assert callable(esprit)
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[")
    two = tmp_path / "two.toml"
    two.write_text("[[sa]]\n[[sa]]\n")
    for words, code, word in (
        (("member", "remove", "eth9"), 12, "member eth9"),
        (("member", "show", "eth9"), 12, "member eth9"),
        (("member", "add", "eth1"), 13, "eth1"),
        (("member", "add", "eth9"), 4, "eth9"),
        (("team", "mode", "fast"), 14, "mode fast"),
        (("engine", "fault", "cores", "die"), 14, "not simulated"),
        (("engine", "fault", "eth1-asic", "sing"), 14, "fault sing"),
        (("engine", "add", "x", "cpu"), 14, "KEY=VALUE"),
        (("engine", "add", "x", "kind=gpu"), 3, "kind"),
        (("sa", "add", str(tmp_path / "none")), 3, "none"),
        (("sa", "add", str(wrong)), 3, "TOML"),
        (("sa", "add", str(two)), 14, "more than one sa"),
        (("sa", "delete", "x"), 12, "SA x"),
        (("sa", "add", "name=x", "key=00"), 14, "list of processes"),
        (("team", "show", "-t", "team9"), 10, "team9"),
    ):
        said = esprit(*words)
        assert said.code == code, (words, said.err)
        assert said.out == ""
        (line,) = said.err.strip().splitlines()
        assert line.startswith("esprit: ")
        assert word in line
        assert ";" in line, line


def test_nothing_runs(esprit: object, run_folder: Path) -> None:
    assert callable(esprit)
    for words in SHOWS:
        said = esprit(*words)
        assert (said.code, len(said.err.strip().splitlines())) == (10, 1)


def test_a_wrong_command_line_is_code_2(esprit: object) -> None:
    assert callable(esprit)
    assert esprit("member", "paint").code == 2
    assert esprit("up").code == 2


@pytest.mark.usefixtures("served")
def test_a_reader_that_goes_away_is_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "esprit", "team", "show", "-j"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # A pipe whose reader is gone before the first byte.
    command = f"({sys.executable} -m esprit team show -j; echo $? >&2) | true"
    piped = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in piped.stderr

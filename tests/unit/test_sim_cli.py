"""``esprit simulate``: what failed says the command that runs it again, to the byte."""

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from esprit.cli import main
from esprit.sim import figures

FILE = """
name = "link-lost"
duration = "1ms"
expect = ["sent == 0"]
[team]
name = "team0"
mode = "active-backup"
[[team.member]]
interface = "eth1"
engine = { kind = "asic", rate = "10G" }
[[traffic]]
name = "all"
pattern = "poisson"
rate = "1G"
"""

Simulate = Callable[..., tuple[int, str, str]]


@pytest.fixture
def esprit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Simulate:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["esprit", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        found = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return end.value.code, found.out, found.err

    return run


@pytest.mark.parametrize("name", ["my own.toml", "-it's.toml"])
@pytest.mark.parametrize("options", [(), ("--seed", "7", "--rival", "power-of-two-choices")])
def test_a_file_that_fails_says_the_command_that_runs_it_again(
    name: str,
    options: tuple[str, ...],
    esprit: Simulate,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    # Its name within is that of one that is shipped.
    Path(name).write_text(FILE)
    code, out, _ = esprit("simulate", *options, "--", name)
    assert code == 1
    assert "UNMET sent == 0" in out
    words = shlex.split(out.partition("  again: ")[2])
    assert words[0] == "esprit"
    assert words[-1] == name
    assert esprit(*words[1:]) == (code, out, "")


def test_each_of_those_compared_says_its_own_command(
    esprit: Simulate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.toml").write_text(FILE)
    _, out, _ = esprit("simulate", "own.toml", "--compare")
    commands = [line.partition("again: ")[2] for line in out.splitlines() if "again: " in line]
    assert commands[0] == "esprit simulate --seed 1 own.toml"
    assert "esprit simulate --seed 1 --rival least-queue own.toml" in commands
    assert "".join(esprit(*shlex.split(one)[1:])[1] for one in commands) == out


def test_json_says_the_command_too(
    esprit: Simulate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.toml").write_text(FILE)
    code, out, _ = esprit("simulate", "own.toml", "-j", "--rival", "least-queue")
    (found,) = json.loads(out)
    assert code == 1
    assert found["again"] == "esprit simulate --seed 1 --rival least-queue own.toml"
    assert json.loads(esprit(*shlex.split(found["again"])[1:], "-j")[1]) == [found]
    Path("own.toml").write_text(FILE.replace("sent == 0", "sent > 0"))
    code, out, _ = esprit("simulate", "own.toml", "-j")
    assert code == 0
    assert json.loads(out)[0]["again"] is None


def test_a_figure_that_is_missed_says_the_command_too(
    esprit: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short() -> Iterator[figures.Line]:
        """How long it is."""
        yield "length", "1 m", False
        yield "width", "2 m", True

    def wide() -> Iterator[figures.Line]:
        """How wide it is."""
        yield "width", "2 m", True

    monkeypatch.setattr(figures, "FIGURES", {"short": short, "wide": wide})
    code, out, _ = esprit("simulate", "--figures")
    assert code == 1
    commands = [line.partition("again: ")[2] for line in out.splitlines() if "again: " in line]
    assert commands == ["esprit simulate --figures short"]
    code, out, _ = esprit(*shlex.split(commands[0])[1:])
    assert code == 1
    assert "length" in out
    assert "wide" not in out


def test_a_random_scenario_is_run_by_its_number(esprit: Simulate) -> None:
    code, out, _ = esprit("simulate", "--random", "3")
    assert code == 0
    assert out.startswith("fuzz-3, seed 3, placement esprit")
    code, _, err = esprit("simulate", "--random", "3", "link-lost")
    assert code == 14
    assert err == "esprit: --random: goes with neither a scenario nor --figures; give one of them\n"

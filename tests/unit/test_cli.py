"""The command line: what is printed, and where, and the exit code."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.fake_system import FakeSystem
from tests.unit.served import serving_in_a_thread

from esprit.cli import main
from esprit.cli.flow import five_tuple
from esprit.errors import BadRequest


@pytest.fixture
def run_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("ESPRIT_RUN", str(tmp_path / "run"))
    return tmp_path


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, run_folder: Path) -> Iterator[None]:
    system = FakeSystem.plugged(monkeypatch, "eth1", "eth2", "eth3")
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
    said = esprit("engine", "show", "cores").out
    assert "checked 0 jobs, canaries 2, second looks 1, wrong 0" in said
    rows = [line.split() for line in said.splitlines()]
    assert ["aes-128-gcm-16", "open", "passed"] in rows
    said = esprit("engine", "show", "eth1-asic").out
    assert "takes ahead 5000 us, 1024 jobs, the host's memory; hung if late by 2000 us" in said
    assert "others' jobs on the way 2 us + 0.125 ns/B; esn no; replay window up to 128" in said
    assert "completions gathered 50 us" in said
    assert "aes-128-gcm-16" in esprit("sa", "show").out
    assert "[built in]" in esprit("policy", "show").out
    assert "esp-hw-offload: off [fixed]" in esprit("features").out
    (one,) = json.loads(esprit("member", "show", "eth2", "-j").out)
    assert (one["ifname"], one["master"], one["operstate"]) == ("eth2", "team0", "UP")


@pytest.mark.usefixtures("served")
def test_the_team_says_its_settings_and_its_mask(esprit: object) -> None:
    assert callable(esprit)
    said = esprit("team", "show").out
    assert "preferred none; headroom 0.1; verify sample:1/1000; probe every 100 ms" in said
    assert "seal aes-128-gcm-16: own eth1 backed up eth2" in said
    (team,) = json.loads(esprit("team", "show", "-j").out)
    assert team["mask"]["open"][0] == {
        "algorithm": "aes-128-gcm-16",
        "own": ["eth1"],
        "backed": ["eth2"],
    }
    assert esprit("team", "set", "failback=better", "preferred=eth2", "verify=all").out == ""
    said = esprit("team", "show").out
    assert "active eth2" in said
    assert "failback better" in said
    assert "preferred eth2; headroom 0.1; verify all" in said
    refused = esprit("team", "set", "failbak=never")
    assert (refused.code, refused.out) == (3, "")
    assert "did you mean failback?" in refused.err
    assert esprit("team", "set", "preferred=eth9").code == 12


@pytest.mark.usefixtures("served")
def test_explain_says_which_way_a_packet_goes_and_why(esprit: object) -> None:
    assert callable(esprit)
    said = esprit("explain", "tcp:10.0.0.1:1234->10.1.0.2:8080").out
    assert "tcp:10.0.0.1:1234->10.1.0.2:8080 length 1400: leaves" in said
    for line in ("policy p protect", "sa out", "member eth1", "engine eth1-asic for primary use"):
        assert f"    {line}\n" in said
    assert "later tier" in said
    assert "work us" in said
    assert "key us" in said
    by_words = ("explain", "10.0.0.1", "10.1.0.2", "--proto", "tcp", "--dport", "8080", "-j")
    found = json.loads(esprit(*by_words).out)
    assert (found["policy"], found["engine"], found["sport"]) == ("p", "eth1-asic", None)
    assert [one["engine"] for one in found["candidates"]] == ["eth1-asic", "cores"]
    assert esprit("explain", "10.0.0.1").code == 14
    assert esprit("explain", "10.0.0.1", "nowhere").err.startswith("esprit: dst nowhere: ")
    assert esprit("explain", "--last-drop").code == 12
    said = esprit("explain", "--feature", "direct-delivery").out
    assert said.startswith('direct-delivery: off\n    why delivery = "return"\n')
    assert ["eth1", "member", "yes", "no", "not", "tested"] in [
        line.split() for line in said.splitlines()
    ]


@pytest.mark.usefixtures("served")
def test_features_keep_what_is_said_used_and_proved_apart(esprit: object) -> None:
    assert callable(esprit)
    lines = esprit("features").out.splitlines()
    assert lines[0].split() == ["feature", "advertised", "by", "accepted", "verified", "why"]
    (cipher,) = [line for line in lines if line.startswith("esp-aes-128-gcm-16")]
    assert cipher.split("  ")[0] == "esp-aes-128-gcm-16: on"
    assert cipher.count("eth1-asic cores") == 3


@pytest.mark.usefixtures("served")
def test_members_are_replaced_and_engines_verified(esprit: object) -> None:
    assert callable(esprit)
    assert esprit("engine", "verify", "eth1-asic").code == 0
    assert esprit("member", "replace", "eth1", "eth3", "--engine", "kind=asic").code == 0
    assert [one["ifname"] for one in json.loads(esprit("member", "show", "-j").out)] == [
        "eth2",
        "eth3",
    ]
    assert esprit("member", "replace", "eth1", "eth3").code == 12


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("tcp:10.0.0.1:1234->10.0.0.2:80", ("10.0.0.1", 1234, "10.0.0.2", 80)),
        ("icmp:10.0.0.1->10.0.0.2", ("10.0.0.1", None, "10.0.0.2", None)),
        ("udp:[2001:db8::1]:53->[2001:db8::2]:53", ("2001:db8::1", 53, "2001:db8::2", 53)),
        ("tcp:[2001:db8::1] -> [2001:db8::2]:80", ("2001:db8::1", None, "2001:db8::2", 80)),
    ],
)
def test_a_flow_in_one_word(text: str, end: tuple[object, ...]) -> None:
    found = five_tuple(text)
    assert (found["src"], found["sport"], found["dst"], found["dport"]) == end
    assert found["proto"] == text.partition(":")[0]


@pytest.mark.parametrize("text", ["", "10.0.0.1", "tcp:10.0.0.1", "tcp:x->y", "tcp:1.1.1.1:x->2"])
def test_what_is_no_flow(text: str) -> None:
    with pytest.raises(BadRequest, match="tcp:10"):
        five_tuple(text)


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
        ("engine", "remove", "eth1-asic"),
        ("engine", "add", "own", "--member", "eth1", "kind=asic", "rate=25G"),
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
        ("eth1", 0, "own"),
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
        (("engine", "add", "x", "--member", "eth1", "kind=asic"), 13, "remove eth1-asic"),
        (("engine", "add", "x", "--member", "eth2", "kind=cpu"), 3, "no device"),
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

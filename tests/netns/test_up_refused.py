"""What `esprit up` refuses: one clear line, an exit code, and the system as it was before."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.netns.running import KEYS, Esprit, plain, protected, system, team_file

from esprit.demo.lab import Host, Lab


@pytest.fixture
def esprit(lab: Lab, tmp_path: Path) -> Iterator[Esprit]:
    host = lab.host("left")
    for interface in ("eth1", "eth2"):
        host.ip("link", "add", interface, "type", "veth", "peer", "name", f"{interface}-peer")
        host.ip("link", "set", f"{interface}-peer", "up")
    made = Esprit(host, tmp_path / "left")
    yield made
    made.close()


def _refused(
    esprit: Esprit, text: str, code: int, *words: str, options: tuple[str, ...] = ()
) -> None:
    before = system(esprit.host)
    exit_code, said = esprit.refused(text, *options)
    assert exit_code == code, said
    lines = said.strip().splitlines()
    assert len(lines) == 1, said
    assert lines[0].startswith("esprit: ")
    for word in words:
        assert word in lines[0]
    assert KEYS["a"][:16] not in said
    assert system(esprit.host) == before
    assert esprit.state_file is None


GOOD = protected("10.9.0.1", "10.9.0.2", "eth1")


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        pytest.param(plain("eth9"), 4, ("eth9", "no such interface"), id="unknown-interface"),
        pytest.param('[team]\nname = "team0"\n', 3, ("member",), id="no-member"),
        pytest.param(plain("lo"), 4, ("lo",), id="loopback"),
        pytest.param(plain("eth1", more="colour = 3\n"), 3, ("colour",), id="unknown-key"),
        pytest.param("[team", 3, ("TOML",), id="no-toml"),
        pytest.param(plain("eth1", "eth1"), 3, ("eth1", "twice"), id="member-twice"),
        pytest.param(plain("eth1", name="eth2"), 11, ("eth2",), id="name-taken"),
        pytest.param(GOOD.replace(KEYS["a"], KEYS["a"][:-2]), 3, ("key",), id="key-length"),
        pytest.param(GOOD.replace(KEYS["b"], KEYS["a"]), 3, ("key", "salt"), id="same-key"),
        pytest.param(
            GOOD
            + "[[sa]]\nname = 'o2'\ndirection = 'in'\nspi = 4097\nsrc = '10.9.0.2'\n"
            + f"dst = '10.9.0.1'\nkey = '{'ab' * 20}'\nmode = 'transport'\n",
            3,
            ("SPI",),
            id="same-spi",
        ),
        pytest.param(
            protected("10.9.0.1", "10.9.0.2", "eth1", software="never"),
            3,
            ("engine", "eth1"),
            id="no-engine",
        ),
    ],
)
def test_a_wrong_file(esprit: Esprit, text: str, code: int, words: tuple[str, ...]) -> None:
    _refused(esprit, text, code, *words)


def _enslaved(host: Host) -> None:
    host.ip("link", "add", "br7", "type", "bridge")
    host.ip("link", "set", "eth1", "master", "br7")


def _addressed(host: Host) -> None:
    host.ip("address", "add", "192.0.2.7/24", "dev", "eth1")


def _default(host: Host) -> None:
    host.ip("link", "set", "eth1", "up")
    host.ip("address", "add", "192.0.2.7/24", "dev", "eth1")
    host.ip("route", "add", "default", "via", "192.0.2.1", "dev", "eth1")


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        pytest.param(_enslaved, ("eth1", "br7"), id="enslaved"),
        pytest.param(_addressed, ("eth1", "192.0.2.7"), id="addresses"),
        pytest.param(_default, ("eth1", "default route", "--force"), id="default-route"),
    ],
)
def test_an_interface_in_use(
    esprit: Esprit, prepare: Callable[[Host], None], words: tuple[str, ...]
) -> None:
    prepare(esprit.host)
    _refused(esprit, plain("eth1"), 4, *words)


def test_the_callers_own_session(esprit: Esprit) -> None:
    esprit.host.ip("link", "set", "eth1", "up")
    esprit.host.ip("route", "add", "198.51.100.0/24", "dev", "eth1")
    esprit.environment["SSH_CONNECTION"] = "198.51.100.9 50000 192.0.2.7 22"
    _refused(esprit, plain("eth1"), 4, "eth1", "198.51.100.9", "--force")
    esprit.up(plain("eth1"), "--force")


def test_a_second_process_in_the_same_namespace(esprit: Esprit) -> None:
    esprit.up(plain("eth1"))
    before = system(esprit.host)
    code, said = esprit.refused(plain("eth2", name="team1"))
    assert (code, len(said.strip().splitlines())) == (11, 1)
    code, said = esprit.refused(plain("eth1"))
    assert (code, len(said.strip().splitlines())) == (11, 1)
    assert system(esprit.host) == before
    # What the refused ones tried has not taken the running one's socket away.
    assert esprit.ask("team", "show")[0]["ifname"] == "team0"


def test_overlapping_teams(esprit: Esprit, tmp_path: Path) -> None:
    second = team_file(tmp_path / "second.toml", plain("eth1", name="team1"))
    _refused(esprit, plain("eth1"), 3, "eth1", "team0", options=(str(second),))


def test_an_interface_that_a_team_has_already(esprit: Esprit) -> None:
    esprit.up(plain("eth1", "eth2"))
    done = esprit.command("member", "add", "eth1")
    assert done.returncode == 13
    assert done.stderr.startswith("esprit: interface eth1: belongs to team0")
    done = esprit.command("member", "add", "team0")
    assert done.returncode == 13


def test_keys_that_others_can_read(esprit: Esprit) -> None:
    before = system(esprit.host)
    code, said = esprit.refused(GOOD, mode=0o644)
    assert code == 6
    assert "others can read it" in said
    assert system(esprit.host) == before


def test_no_permission(esprit: Esprit) -> None:
    before = system(esprit.host)
    file = team_file(esprit.folder / "refused.toml", plain("eth1"))
    done = subprocess.run(
        esprit.host.inside(
            *("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "--"),
            *(sys.executable, "-m", "esprit", "up", str(file)),
        ),
        capture_output=True,
        text=True,
        check=False,
        env=esprit.environment,
    )
    assert done.returncode == 5, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert system(esprit.host) == before


def test_a_dry_run_changes_nothing_and_says_what_it_would_do(esprit: Esprit) -> None:
    before = system(esprit.host)
    file = team_file(esprit.folder / "team.toml", GOOD)
    done = esprit.command("up", str(file), "--dry-run")
    assert done.returncode == 0, done.stderr
    for word in ("eth1: shut", "team0: make the virtual NIC, mtu 1458", "policy all protect"):
        assert word in done.stdout
    assert KEYS["a"] not in done.stdout
    assert system(esprit.host) == before


def test_a_running_team_refuses_what_contradicts_it(esprit: Esprit) -> None:
    esprit.up(GOOD)
    one = "direction = 'in'\nsrc = '10.9.0.2'\ndst = '10.9.0.1'\nmode = 'transport'\n"
    same_spi = one + f"name = 'x'\nspi = 4097\nkey = '{'ab' * 20}'\n"
    same_key = one + f"name = 'x'\nspi = 5000\nkey = '{KEYS['a']}'\n"
    wrong_key = one + f"name = 'x'\nspi = 5000\nkey = '{'ab' * 21}'\n"
    same_name = one + f"name = 'in'\nspi = 5000\nkey = '{'ab' * 20}'\n"
    for table, code, word in (
        (same_spi, 7, "SPI"),
        (same_key, 6, "key and salt"),
        (wrong_key, 3, "bytes"),
        (same_name, 13, "is there already"),
    ):
        done = esprit.command("sa", "add", "-", stdin=table)
        assert (done.returncode, word in done.stderr) == (code, True), done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert "abab" not in done.stderr
    assert [sa["name"] for sa in esprit.ask("sa", "show")] == ["out", "in"]

"""Faults that only show across tables and files."""

from pathlib import Path

import pytest

from esprit import config
from esprit.errors import ConfigInvalid

KEYS = [f"{n:02x}" * 16 + "01020304" for n in range(1, 9)]
TEAM = '[team]\nname = "{name}"\nmode = "{mode}"\n'


def member(interface: str, extra: str = "") -> str:
    return f'[[member]]\ninterface = "{interface}"\n{extra}\n'


def cpu(name: str = "cores") -> str:
    return f'[[engine]]\nname = "{name}"\nkind = "cpu"\n'


def sa(name: str, spi: int, key: str, extra: str = "", direction: str = "out") -> str:
    src, dst = ("10.0.0.1", "10.0.0.2") if direction == "out" else ("10.0.0.2", "10.0.0.1")
    return (
        f'[[sa]]\nname = "{name}"\ndirection = "{direction}"\nspi = {spi}\nsrc = "{src}"\n'
        f'dst = "{dst}"\nkey = "{key}"\n{extra}\n'
    )


def policy(name: str = "sites", action: str = "protect", local: str = "10.1.0.0/16") -> str:
    return (
        f'[[policy]]\nname = "{name}"\naction = "{action}"\nlocal = "{local}"\n'
        'remote = "10.2.0.0/16"\n'
    )


def team(*tables: str, name: str = "team0", mode: str = "balance-alb") -> str:
    return TEAM.format(name=name, mode=mode) + "\n".join(tables)


def fault(*tables: str, mode: str = "balance-alb") -> str:
    with pytest.raises(ConfigInvalid) as caught:
        config.read(team(*tables, mode=mode), source="f")
    (line,) = caught.value.lines
    assert "; " in line
    return line


BASE = (member("eth1"), member("eth2"), cpu(), policy())


def test_the_base_of_these_tests_has_no_fault() -> None:
    config.read(team(*BASE, sa("a", 1000, KEYS[0]), sa("b", 1000, KEYS[1], direction="in")))


def test_an_interface_twice() -> None:
    assert "member eth1: is there twice" in fault(*BASE, member("eth1"))


def test_names_twice() -> None:
    assert "engine cores: is there twice" in fault(*BASE, cpu())
    assert "policy sites: is there twice" in fault(*BASE, policy())
    assert "sa a: is there twice" in fault(
        *BASE, sa("a", 1000, KEYS[0]), sa("a", 1001, KEYS[1], direction="in")
    )


def test_an_engine_takes_the_name_that_another_has_by_default() -> None:
    own = member("eth1", 'engine = { kind = "asic" }')
    assert "engine eth1-asic: is there twice" in fault(own, cpu("eth1-asic"))


def test_the_team_is_no_member() -> None:
    assert "team.name: team0 is a member too" in fault(member("team0"), member("eth1"))


def test_somebody_carries() -> None:
    assert "no member may carry traffic" in fault(member("eth1", "carry = false"))


def test_a_spi_twice_in_one_direction() -> None:
    line = fault(
        *BASE, sa("a", 1000, KEYS[0], 'member = "eth1"'), sa("b", 1000, KEYS[1], 'member = "eth2"')
    )
    assert line == "f: sa b: spi: 0x3e8 serves sa a already; choose another SPI"


@pytest.mark.parametrize("direction", ["out", "in"])
def test_a_key_and_salt_twice(direction: str) -> None:
    line = fault(
        *BASE,
        sa("a", 1000, KEYS[0], 'member = "eth1"'),
        sa("b", 1001, KEYS[0].upper(), 'member = "eth2"', direction=direction),
    )
    assert line.startswith("f: sa b: key: is that of sa a, and a nonce would seal two packets; ")
    assert KEYS[0][:8] not in line


def test_one_key_with_two_salts_makes_other_nonces() -> None:
    other_salt = KEYS[0][:-8] + "0a0b0c0d"
    config.read(team(*BASE, sa("a", 1000, KEYS[0]), sa("b", 1001, other_salt, direction="in")))


def test_a_member_or_policy_that_is_not_there() -> None:
    assert fault(*BASE, sa("a", 1000, KEYS[0], 'member = "eth9"')).endswith(
        "sa a: member: eth9 is no member; name one of eth1, eth2"
    )
    assert fault(*BASE, sa("a", 1000, KEYS[0], 'policy = "site"')).endswith(
        "sa a: policy: site does not exist; name one of sites"
    )
    assert "does not protect" in fault(
        *BASE, policy("open", "bypass", "10.9.0.0/16"), sa("a", 1000, KEYS[0], 'policy = "open"')
    )
    assert "serves no policy" in fault(member("eth1"), cpu(), sa("a", 1000, KEYS[0]))


def test_each_of_a_bundle_names_its_own_member() -> None:
    bundle = sa("a", 1000, KEYS[0], 'member = "eth1"'), sa("b", 1001, KEYS[1])
    assert "sa b: member: is missing" in fault(*BASE, *bundle)
    again = sa("a", 1000, KEYS[0], 'member = "eth1"'), sa("b", 1001, KEYS[1], 'member = "eth1"')
    assert "two outbound security associations by eth1" in fault(*BASE, *again)
    config.read(team(*BASE, bundle[0], sa("b", 1001, KEYS[1], 'member = "eth2"')))


def test_a_policy_with_one_association_stays_on_one_member_at_a_time() -> None:
    config.read(team(*BASE, sa("a", 1000, KEYS[0])))


def test_transport_mode_goes_between_the_two_hosts() -> None:
    ours, peers = policy(local="10.0.0.1/32"), policy().replace("10.2.0.0/16", "10.0.0.2/32")
    for lacking in (policy(), ours, peers):
        line = fault(*BASE[:3], lacking, sa("a", 1000, KEYS[0], 'mode = "transport"'))
        assert "sa a: mode: " in line
        assert "inside policy sites" in line
    hosts = policy(local="10.0.0.1/32").replace("10.2.0.0/16", "10.0.0.2/32")
    for direction in ("out", "in"):
        config.read(team(*BASE[:3], hosts, sa("a", 1000, KEYS[0], 'mode = "transport"', direction)))


def test_somebody_can_encrypt_for_every_member_that_carries() -> None:
    assert 'add [[engine]] kind = "cpu"' in fault(member("eth1"), policy())
    inline = 'engine = { kind = "asic", inline = true, lookaside = false }'
    line = fault(member("eth1", inline), member("eth2"), policy())
    assert line.startswith("f: member eth2: no engine does anything for it; ")
    config.read(team(member("eth1", inline), member("eth2", "carry = false"), policy()))
    only_aes256 = 'engine = { kind = "asic", algorithms = ["aes-256-gcm-16"] }'
    line = fault(member("eth1", only_aes256), policy(), sa("a", 1000, KEYS[0]))
    assert "no engine does aes-128-gcm-16 for it" in line


def test_an_engine_does_nothing_for_an_association_that_needs_what_it_lacks() -> None:
    short = member("eth1", 'engine = { kind = "asic", esn = false, max_replay_window = 1024 }')
    wide = "replay_window = 2048"
    for extra, direction, lacks in (
        ("esn = true", "out", " with extended sequence numbers"),
        (wide, "in", " with a replay window of 2048"),
        (
            f"esn = true\n{wide}",
            "in",
            " with extended sequence numbers and a replay window of 2048",
        ),
    ):
        line = fault(short, policy(), sa("a", 1000, KEYS[0], extra, direction))
        assert f"member eth1: no engine does aes-128-gcm-16{lacks} for it; " in line
        # Processor cores do anything.
        config.read(team(short, cpu(), policy(), sa("a", 1000, KEYS[0], extra, direction)))
    for extra, direction in (("replay_window = 1024", "in"), (wide, "out")):
        config.read(team(short, policy(), sa("a", 1000, KEYS[0], extra, direction)))


def test_software_that_never_works_does_not_count() -> None:
    never = team(member("eth1"), cpu(), policy()).replace("mode =", 'software = "never"\nmode =')
    with pytest.raises(ConfigInvalid, match="no engine does anything"):
        config.read(never)


def test_an_inline_engine_needs_an_interface() -> None:
    line = fault(member("eth1"), cpu().replace('"cpu"', '"asic"\nlookaside = false\ninline = true'))
    assert "engine cores: has no interface" in line


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.touch(mode=0o600)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (team(member("eth9")), "team0 is the team of "),
        (team(member("eth1"), name="team1"), "is a member of team team0 already"),
        (team(member("team0"), name="team1"), "a team is no member"),
        (team(member("eth9"), name="eth1"), "eth1 is a member of team team0"),
        (team(member("eth9"), cpu(), name="team1"), "the pool is the host's"),
        (
            team(member("eth9"), cpu("c"), policy(), sa("z", 1000, KEYS[5]), name="team1"),
            "0x3e8 serves sa a of ",
        ),
        (
            team(member("eth9"), cpu("c"), policy(), sa("z", 1, KEYS[0]), name="team1").replace(
                "spi = 1\n", "spi = 5000\n"
            ),
            "is that of sa a of ",
        ),
        (
            team(member("eth9"), name="team1").replace("mode", 'address = "10.0.0.1/8"\nmode'),
            "10.0.0.1 is an address of team team0 already",
        ),
    ],
)
def test_two_teams_do_not_overlap(tmp_path: Path, second: str, why: str) -> None:
    text = team(*BASE, sa("a", 1000, KEYS[0])).replace("mode", 'address = "10.0.0.1/24"\nmode')
    paths = [write(tmp_path, "a.toml", text), write(tmp_path, "b.toml", second)]
    with pytest.raises(ConfigInvalid) as caught:
        config.load_all(paths)
    (line,) = caught.value.lines
    assert line.startswith(f"{paths[1]}: ")
    assert why in line


def test_two_teams_that_keep_apart(tmp_path: Path) -> None:
    paths = [
        write(tmp_path, "a.toml", team(*BASE, sa("a", 1000, KEYS[0]))),
        write(tmp_path, "b.toml", team(member("eth9"), name="team1")),
    ]
    assert [found.team.name for found in config.load_all(paths)] == ["team0", "team1"]

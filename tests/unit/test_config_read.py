"""The file as a whole: what it becomes, and one line for each fault."""

import re
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esprit import config
from esprit.errors import ConfigError, ConfigInvalid, ConfigSyntax
from esprit.model import Key, ProbeSpec, RouteSpec, UdpEncap

OUT_KEY = "8f" * 16 + "01020304"
IN_KEY = "3c" * 32 + "05060708"

GOOD = f"""\
[team]
name = "team0"
mode = "balance-alb"
software = "overflow"
failback = "better"
mac = "member"
hwaddr = "02:00:5e:10:00:01"
mtu = 1400
address = ["10.0.0.1/24", "2001:db8::1/64"]
route = [{{ to = "10.2.0.0/16", via = "10.0.0.2", src = "10.1.0.1" }}]

[[member]]
interface = "eth1"
priority = 10
engine = {{ kind = "asic", rate = "10G", latency = "20us", memory = "4M" }}

[[member]]
interface = "eth2"
carry = false

[[engine]]
name = "cores"
kind = "cpu"
threads = 2

[[sa]]
name = "to-right"
direction = "out"
spi = 0x1001
src = "10.0.0.1"
dst = "10.0.0.2"
key = "{OUT_KEY}"
esn = true
encap = "udp"
member = "eth1"
policy = "sites"

[[sa]]
name = "from-right"
direction = "in"
spi = "0x2001"
src = "10.0.0.2"
dst = "10.0.0.1"
key = "{IN_KEY}"
replay_window = 4096
weight = 3

[[policy]]
name = "sites"
local = "10.1.0.0/16"
remote = "10.2.0.0/16"
protocol = "tcp"
remote_port = "8000-8080"
"""


def changed(*changes: tuple[str, str]) -> str:
    text = GOOD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def faults(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigInvalid) as caught:
        config.read(text, source="team0.toml")
    for line in caught.value.lines:
        assert line.startswith("team0.toml: ")
        assert "; " in line or "did you mean" in line, line
        assert OUT_KEY not in line
        assert "\n" not in line
    return caught.value.lines


def refusal(text: str) -> ConfigInvalid | None:
    try:
        config.read(text)
    except ConfigInvalid as error:
        return error
    return None


def fault(*changes: tuple[str, str]) -> str:
    (line,) = faults(changed(*changes))
    return line


def test_everything_that_a_file_says() -> None:
    found = config.read(GOOD, source="team0.toml")
    team = found.team
    assert (team.name, team.mode, team.software, team.failback) == (
        "team0",
        "balance-alb",
        "overflow",
        "better",
    )
    assert (team.source_mac, team.mac, team.mtu) == ("member", "02:00:5e:10:00:01", 1400)
    assert team.addresses == (ip_interface("10.0.0.1/24"), ip_interface("2001:db8::1/64"))
    assert team.routes == (
        RouteSpec(
            to=ip_network("10.2.0.0/16"), via=ip_address("10.0.0.2"), src=ip_address("10.1.0.1")
        ),
    )
    eth1, eth2 = found.members
    assert (eth1.interface, eth1.priority, eth1.carry) == ("eth1", 10, True)
    assert not eth2.carry
    assert eth1.engine is not None
    assert eth1.engine.name == "eth1-asic"
    assert eth1.engine.simulated
    assert (eth1.engine.rate_bps, eth1.engine.latency_ns, eth1.engine.memory) == (
        10**10,
        20_000,
        4 << 20,
    )
    assert [(engine.name, of) for engine, of in found.all_engines()] == [
        ("eth1-asic", "eth1"),
        ("cores", None),
    ]
    out, inbound = found.sas
    assert out.key == Key.from_hex(OUT_KEY)
    assert (out.spi, out.encap, out.esn, out.member, out.policy) == (
        0x1001,
        UdpEncap(),
        True,
        "eth1",
        "sites",
    )
    assert (inbound.cipher, inbound.replay_window, inbound.mode) == (
        "aes-256-gcm-16",
        4096,
        "tunnel",
    )
    assert (out.weight, inbound.weight) == (1, 3)
    (policy,) = found.policies
    assert (policy.action, policy.protocol, policy.local_port, policy.remote_port) == (
        "protect",
        6,
        None,
        (8000, 8080),
    )


def test_what_a_file_says_of_failover_probing_and_rules() -> None:
    text = changed(
        (
            "mtu = 1400",
            """failback_delay = "10s"
preferred = "eth2"
up_delay = "5s"
down_delay = "200ms"
headroom = 0.25
receive = "balance"
verify = "sample:1/50"
delivery = "auto"
allow = [{ vendor = "0x8086", driver = "ixgbe*" }]
deny = [{ interface = "eth0" }, { firmware = "1.*" }]
""",
        )
    )
    text += '[probe]\nevery = "10ms"\nmiss = 2\nof = 4\nhold = "3s"\ntarget = "192.0.2.254"\n'
    team = config.read(text).team
    assert (team.failback_delay_ns, team.up_delay_ns, team.down_delay_ns) == (
        10_000_000_000,
        5_000_000_000,
        200_000_000,
    )
    assert (team.preferred, team.headroom, team.receive) == ("eth2", 0.25, "balance")
    assert (team.verify_every, team.delivery) == (50, "auto")
    assert [dict(rule) for rule in team.allow] == [{"vendor": "0x8086", "driver": "ixgbe*"}]
    assert [dict(rule) for rule in team.deny] == [{"interface": "eth0"}, {"firmware": "1.*"}]
    assert team.probe == ProbeSpec(
        every_ns=10_000_000,
        miss=2,
        of=4,
        hold_ns=3_000_000_000,
        targets=(ip_address("192.0.2.254"),),
    )


@pytest.mark.parametrize("off", ['every = "0"', "every = 0", "enabled = false"])
def test_probing_can_be_turned_off(off: str) -> None:
    assert config.read(GOOD).team.probe == ProbeSpec()
    assert config.read(f"{GOOD}\n[probe]\n{off}\n").team.probe.every_ns == 0


def test_settings_of_a_running_team_are_the_file_s() -> None:
    found = config.settings({"failback": "always", "up_delay": "1s", "verify": "all"})
    assert (found.failback, found.up_delay_ns, found.verify_every) == ("always", 10**9, 1)
    assert found.mode is None
    assert config.settings({"preferred": ""}).preferred == ""
    with pytest.raises(ConfigInvalid, match=r"failbak.*did you mean failback"):
        config.settings({"failbak": "never"})


def test_the_least_that_a_file_says() -> None:
    found = config.read('[team]\nname = "team0"\n[[member]]\ninterface = "eth1"\n')
    assert (found.team.mode, found.team.software, found.team.failback, found.team.delivery) == (
        "active-backup",
        "overflow",
        "never",
        "return",
    )
    assert found.team.source_mac is None
    assert found.engines == ()
    assert found.sas == ()
    assert found.policies == ()


def test_the_default_route_has_its_next_hop_s_family() -> None:
    text = '[team]\nname = "t"\nroute = [{ to = "default", via = "2001:db8::1" }]\n'
    found = config.read(text + '[[member]]\ninterface = "eth1"\n')
    assert found.team.routes[0].to == ip_network("::/0")


def test_the_documented_example_is_a_configuration() -> None:
    readme = Path(__file__).parents[2].joinpath("README.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", readme, flags=re.DOTALL)
    found = config.read(example)
    assert [member.interface for member in found.members] == ["eth1", "eth2"]


def test_all_faults_are_told_at_once() -> None:
    lines = faults(
        changed(
            ('mode = "balance-alb"', 'moed = "balance-alb"'),
            ('"10G"', '"10X"'),
            ("threads = 2", "threads = -1"),
            (OUT_KEY, OUT_KEY + "00"),
        )
    )
    assert [line.split(": ")[1] for line in lines] == [
        "team.moed",
        "member 1 (eth1)",
        "engine 1 (cores)",
        "sa 1 (to-right)",
    ]
    assert lines[0].endswith("did you mean mode?")


@pytest.mark.parametrize(
    ("change", "where", "why"),
    [
        (('"10.0.0.1/24"', '"10.0.0.1"'), "team.address 1", "prefix length"),
        (("mtu = 1400", "mtu = 100"), "team.mtu", "the least is 576"),
        (("mtu = 1400", 'mtu = "1400"'), "team.mtu", "without quotes"),
        (("carry = false", 'carry = "no"'), "member 2 (eth2): carry", "true nor false"),
        (("mtu = 1400", 'delivery = "post"'), "team.delivery", "'auto'"),
        (("mtu = 1400", 'verify = "sample"'), "team.verify", "sample:1/1000"),
        (("mtu = 1400", 'preferred = "eth9"'), "team.preferred", "name one of eth1, eth2"),
        (("mtu = 1400", "headroom = 2.0"), "team.headroom", "the most is 1"),
        (("mtu = 1400", "deny = [{}]"), "team.deny 1", "matches nothing"),
        (("mtu = 1400", 'deny = [{ drive = "x" }]'), "team.deny 1.drive", "did you mean driver"),
        (("mtu = 1400", "up_delay = 5"), "team.up_delay", "with its unit"),
        (("[[policy]]", "[probe]\nmiss = 6\n[[policy]]"), "probe", "no larger than of"),
        (("[[policy]]", '[probe]\nevery = "10us"\n[[policy]]'), "probe", "1ms"),
        (('mac = "member"', 'mac = "02:00:00:00:00:01"'), "team.mac", "hwaddr"),
        (('mode = "balance-alb"', 'mode = "802.3ad"'), "team.mode", '"active-backup"'),
        (('"overflow"', '"often"'), "team.software", "'always', 'overflow' or 'never'"),
        (("spi = 0x1001", "spi = 255"), "sa 1 (to-right): spi", "RFC 4303"),
        (("4096", "63"), "sa 2 (from-right): replay_window", "the least is 64"),
        (("4096", "8193"), "sa 2 (from-right): replay_window", "the most is 8192"),
        (("weight = 3", "weight = 0"), "sa 2 (from-right): weight", "the least is 1"),
        (("weight = 3", "weight = 101"), "sa 2 (from-right): weight", "the most is 100"),
        (("weight = 3", "weight = 1.5"), "sa 2 (from-right): weight", "whole number"),
        ((OUT_KEY, "00"), "sa 1 (to-right): key", "1 bytes are no key"),
        (('encap = "udp"', 'encap = "tcp"'), "sa 1 (to-right): encap", "'udp'"),
        (('dst = "10.0.0.2"', 'dst = "::2"'), "sa 1 (to-right)", "different IP versions"),
        (('dst = "10.0.0.2"', 'dst = "10.0.0.1"'), "sa 1 (to-right)", "same address"),
        ((f'key = "{OUT_KEY}"', ""), "sa 1 (to-right)", "one of key and key_file"),
        (('protocol = "tcp"', ""), "policy 1 (sites)", "no protocol"),
        (('protocol = "tcp"', 'protocol = "icmp"'), "policy 1 (sites)", "without ports"),
        (('local = "10.1.0.0/16"', 'local = "::/0"'), "policy 1 (sites)", "different IP versions"),
        (("threads = 2", 'rate = "1G"'), "engine 1 (cores)", 'belongs to kind = "asic"'),
        (('rate = "10G"', "threads = 1"), "member 1 (eth1): engine", 'belongs to kind = "cpu"'),
        (('rate = "10G"', "lookaside = false"), "member 1 (eth1): engine", "no work at all"),
        (("threads = 2", "esn = false"), "engine 1 (cores)", 'esn belongs to kind = "asic"'),
        (('rate = "10G"', "coalesce = 50"), "member 1 (eth1): engine.coalesce", "with its unit"),
        (('rate = "10G"', "queue_jobs = 0"), "member 1 (eth1): engine.queue_jobs", "least is 1"),
        (('rate = "10G"', 'patience = "11s"'), "member 1 (eth1): engine.patience", "the most is"),
        (('rate = "10G"', "transfer_rate = 0"), "member 1 (eth1): engine.transfer_rate", "no rate"),
        (
            ('rate = "10G"', "max_replay_window = 63"),
            "member 1 (eth1): engine.max_replay_window",
            "the least is 64",
        ),
        (('kind = "asic"', 'kind = "cpu"'), "member 1 (eth1): engine", "no device"),
        (('kind = "asic"', 'kind = "qat"'), "member 1 (eth1): engine.kind", "'cpu' or 'asic'"),
        (("[[engine]]", "[[engines]]"), "engines", "did you mean engine?"),
        (('name = "cores"', ""), "engine 1: name", "is missing"),
    ],
)
def test_a_fault_names_its_key_and_a_remedy(change: tuple[str, str], where: str, why: str) -> None:
    line = fault(change)
    assert line.startswith(f"team0.toml: {where}: ")
    assert why in line


def test_one_bracket_where_there_should_be_two() -> None:
    (line,) = faults('[team]\nname = "team0"\n[member]\ninterface = "eth1"\n')
    assert "[[member]] with two brackets" in line


def test_a_file_without_a_team_or_members() -> None:
    team, member = faults("")
    assert "begin a table [team]" in team
    assert "at least one [[member]]" in member
    (line,) = faults('member = []\n[team]\nname = "team0"\n')
    assert line == "team0.toml: member: is empty; write at least one"


@pytest.mark.parametrize("text", ["[team", "a = ", "[team]\nname = 1 2", "x = " + "[" * 5000])
def test_what_is_no_toml(text: str) -> None:
    with pytest.raises(ConfigSyntax) as caught:
        config.read(text, source="team0.toml")
    assert str(caught.value).startswith("team0.toml: ")
    assert "\n" not in str(caught.value)


def test_a_syntax_error_beside_a_key_does_not_show_it() -> None:
    with pytest.raises(ConfigSyntax) as caught:
        config.read(GOOD.replace(f'"{OUT_KEY}"', OUT_KEY))
    assert OUT_KEY[:8] not in str(caught.value)


@given(st.text(max_size=200))
def test_any_text_is_a_configuration_or_an_error_of_ours(text: str) -> None:
    with pytest.raises(ConfigError):
        config.read(text)


scalars = st.one_of(
    st.none().map(lambda _: "{}"),
    st.integers(-(2**40), 2**40).map(str),
    st.booleans().map(lambda b: str(b).lower()),
    st.sampled_from(['"x"', "[]", "1.5", "1979-05-27", "nan", "[{ a = 1 }]", "{ kind = 1 }"]),
)


@given(st.integers(0, GOOD.count("\n") - 1), scalars)
def test_any_value_in_the_place_of_another_is_taken_or_a_fault_of_ours(
    number: int, value: str
) -> None:
    lines = GOOD.splitlines()
    key, equals, _ = lines[number].partition(" = ")
    if not equals:
        return
    lines[number] = f"{key} = {value}"
    error = refusal("\n".join(lines))
    if error is not None:
        assert all("; " in line or "did you mean" in line for line in error.lines)
        assert OUT_KEY not in str(error)

"""A team's life on real devices: start, end, kill, restart, hot-plug."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.netns.running import (
    Esprit,
    bundle,
    listening,
    plain,
    protected,
    system,
    team_file,
    transfer,
)

from esprit.demo.lab import Host, Lab, Switch, await_true

NEEDLE = b"esprit-namespace-test-needle-" + bytes(range(64))


@pytest.fixture
def pair(lab: Lab, tmp_path: Path) -> Iterator[tuple[Switch, Esprit, Esprit]]:
    switch = lab.switch()
    left, right = lab.host("left"), lab.host("right")
    for host in (left, right):
        for interface in ("eth1", "eth2"):
            switch.plug(host, interface)
    ours, theirs = Esprit(left, tmp_path / "left"), Esprit(right, tmp_path / "right")
    yield switch, ours, theirs
    ours.close()
    theirs.close()


@pytest.fixture
def single(lab: Lab, tmp_path: Path) -> Iterator[tuple[Switch, Esprit]]:
    switch, host = lab.switch(), lab.host("left")
    for interface in ("eth1", "eth2"):
        switch.plug(host, interface)
    esprit = Esprit(host, tmp_path / "left")
    yield switch, esprit
    esprit.close()


def _both_up(left: Esprit, right: Esprit) -> None:
    left.up(protected("10.9.0.1", "10.9.0.2", "eth1", "eth2"))
    right.up(protected("10.9.0.2", "10.9.0.1", "eth1", "eth2", out="b", into="a"))


def _shut(host: Host, interface: str) -> bool:
    rules = host.rules()
    return f'hook ingress device "{interface}"' in rules and (
        f'hook egress device "{interface}"' in rules
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_clean_end_puts_everything_back(
    single: tuple[Switch, Esprit], number: signal.Signals
) -> None:
    _, esprit = single
    esprit.host.ip("link", "set", "eth2", "up")  # one member was up before, the other down
    esprit.host.run("ethtool", "-K", "eth2", "gro", "on")
    before = system(esprit.host)
    esprit.up(plain("eth1", "eth2", more='address = ["10.9.0.1/24", "fd09::1/64"]\n'))
    during = system(esprit.host)
    assert during != before
    assert _shut(esprit.host, "eth1")
    assert _shut(esprit.host, "eth2")
    assert esprit.end(number) == 0
    assert system(esprit.host) == before
    assert esprit.state_file is None
    assert not (esprit.folder / "run" / "team0.sock").exists()


def test_after_a_kill_members_stay_shut_and_the_next_start_adopts(
    single: tuple[Switch, Esprit],
) -> None:
    _, esprit = single
    before = system(esprit.host)
    text = plain("eth1", "eth2", more='address = "10.9.0.1/24"\n')
    esprit.up(text)
    first = esprit.host.link("team0")
    assert esprit.end(signal.SIGKILL) == -signal.SIGKILL
    assert _shut(esprit.host, "eth1")
    assert _shut(esprit.host, "eth2")
    assert esprit.host.link("team0")["ifindex"] == first["ifindex"]
    routes = esprit.host.show("route", "show", "10.9.0.0/24")
    assert [route["dev"] for route in routes] == ["team0"]

    esprit.up(text)
    second = esprit.host.link("team0")
    assert (second["ifindex"], second["address"]) == (first["ifindex"], first["address"])
    assert esprit.end() == 0
    assert system(esprit.host) == before


def test_what_a_killed_process_left_and_nobody_wants_is_put_back(
    single: tuple[Switch, Esprit],
) -> None:
    _, esprit = single
    before = system(esprit.host)
    esprit.up(plain("eth1", "eth2"))
    esprit.end(signal.SIGKILL)
    esprit.up(plain("eth2", name="other"))
    assert not esprit.host.has("team0")
    assert not _shut(esprit.host, "eth1")
    assert _shut(esprit.host, "eth2")
    assert esprit.end() == 0
    assert system(esprit.host) == before


def test_a_member_that_the_next_start_no_longer_wants_is_given_back(
    single: tuple[Switch, Esprit],
) -> None:
    _, esprit = single
    before = system(esprit.host)
    esprit.up(plain("eth1", "eth2"))
    esprit.end(signal.SIGKILL)
    esprit.up(plain("eth2"))
    assert not _shut(esprit.host, "eth1")
    assert "UP" not in esprit.host.link("eth1")["flags"]
    assert esprit.end() == 0
    assert system(esprit.host) == before


def test_what_is_protected_is_never_plain_on_the_wire(
    pair: tuple[Switch, Esprit, Esprit],
) -> None:
    switch, left, right = pair
    _both_up(left, right)
    with listening(switch, ["left-eth1", "left-eth2"], NEEDLE) as seen:
        assert transfer(left.host, right.host, "10.9.0.2", NEEDLE, 4000) == 4000 * len(NEEDLE)
    assert [port["drops"] for port in seen.values()] == [0, 0]
    assert seen["left-eth1"]["esp"] > 0
    assert [port["hits"] for port in seen.values()] == [[], []]
    (out,) = left.ask("sa", "show", "out")
    assert out["packets"] > 0
    assert out["next_hop"] is not None


def test_a_neighbour_that_the_operator_fixed_stays_so(pair: tuple[Switch, Esprit, Esprit]) -> None:
    _, left, right = pair
    _both_up(left, right)
    mac = right.host.link("team0")["address"]
    fixed = ["10.9.0.2", "lladdr", mac, "dev", "team0", "nud", "permanent"]
    left.host.ip("neigh", "replace", *fixed)

    def next_hop() -> object:
        (out,) = left.ask("sa", "show", "out")
        return out["next_hop"]

    # Another way to the peer has all next hops looked at again, and so has the way back.
    detour = ["10.9.0.2/32", "via", "10.9.0.3", "dev", "team0"]
    left.host.ip("route", "add", *detour)
    await_true(lambda: next_hop() is None, "the detour is taken")
    left.host.ip("route", "del", *detour)
    await_true(lambda: next_hop() == mac, "the detour is left")
    (entry,) = left.host.show("neigh", "show", "10.9.0.2", "dev", "team0")
    assert entry["state"] == ["PERMANENT"]
    assert left.host.show("neigh", "show", "10.9.0.3", "dev", "team0") == []
    assert transfer(left.host, right.host, "10.9.0.2", NEEDLE, 100) == 100 * len(NEEDLE)


def test_no_number_is_used_twice_over_a_kill(pair: tuple[Switch, Esprit, Esprit]) -> None:
    _, left, right = pair
    _both_up(left, right)
    transfer(left.host, right.host, "10.9.0.2", NEEDLE, 100)
    (before,) = left.ask("sa", "show", "out")
    left.end(signal.SIGKILL)
    left.up(protected("10.9.0.1", "10.9.0.2", "eth1", "eth2"))
    (after,) = left.ask("sa", "show", "out")
    assert after["seq"] >= before["granted"] > before["seq"]
    # The peer's replay window takes the jump.
    assert transfer(left.host, right.host, "10.9.0.2", NEEDLE, 100) == 100 * len(NEEDLE)


def test_a_pulled_link_moves_the_traffic_and_a_returning_one_does_not(
    pair: tuple[Switch, Esprit, Esprit],
) -> None:
    switch, left, right = pair
    _both_up(left, right)
    switch.pull(left.host, "eth1")
    await_true(lambda: left.ask("team", "show")[0]["active"] == ["eth2"], "the takeover")
    assert transfer(left.host, right.host, "10.9.0.2", NEEDLE, 100) == 100 * len(NEEDLE)
    switch.insert(left.host, "eth1")
    await_true(lambda: left.ask("member", "show", "eth1")[0]["role"] == "waiting", "the link")
    (team,) = left.ask("team", "show")
    assert (team["active"], team["receiver"]) == (["eth2"], "eth2")  # failback = "never"


def test_a_member_that_is_unplugged_and_plugged_in_again_serves_again(
    pair: tuple[Switch, Esprit, Esprit],
) -> None:
    switch, left, right = pair
    _both_up(left, right)
    left.host.ip("link", "del", "eth1")
    await_true(lambda: left.ask("team", "show")[0]["active"] == ["eth2"], "the takeover")
    switch.plug(left.host, "eth1")
    await_true(lambda: left.ask("member", "show", "eth1")[0]["role"] == "waiting", "the return")
    assert _shut(left.host, "eth1")
    switch.pull(left.host, "eth2")
    await_true(lambda: left.ask("team", "show")[0]["active"] == ["eth1"], "the takeover back")
    assert transfer(left.host, right.host, "10.9.0.2", NEEDLE, 100) == 100 * len(NEEDLE)


def test_members_are_replaced_on_the_running_team(pair: tuple[Switch, Esprit, Esprit]) -> None:
    switch, left, right = pair
    before = system(left.host)
    _both_up(left, right)
    assert left.command("member", "remove", "eth1").returncode == 0
    assert not _shut(left.host, "eth1")
    switch.plug(left.host, "eth3")
    assert left.command("member", "add", "eth3").returncode == 0
    assert left.command("member", "remove", "eth2").returncode == 0
    assert left.ask("team", "show")[0]["active"] == ["eth3"]
    assert transfer(left.host, right.host, "10.9.0.2", NEEDLE, 100) == 100 * len(NEEDLE)
    assert left.end() == 0
    after = system(left.host)
    after["links"].pop("eth3")  # type: ignore[attr-defined]
    after["features"].pop("eth3")  # type: ignore[attr-defined]
    assert after == before


def test_a_table_that_somebody_removes_is_set_again(single: tuple[Switch, Esprit]) -> None:
    _, esprit = single
    esprit.up(plain("eth1", "eth2"))
    esprit.host.run("nft", "delete", "table", "netdev", "esprit")
    esprit.host.ip("link", "set", "eth1", "alias", "touched")
    await_true(lambda: _shut(esprit.host, "eth1") and _shut(esprit.host, "eth2"), "the table")


def test_the_mtu_follows_members_and_sas(pair: tuple[Switch, Esprit, Esprit]) -> None:
    _, left, _ = pair
    left.up(protected("10.9.0.1", "10.9.0.2", "eth1", "eth2"))
    assert left.host.link("team0")["mtu"] == 1458
    left.host.ip("link", "set", "eth2", "mtu", "1400")
    await_true(lambda: left.host.link("team0")["mtu"] == 1358, "the smaller MTU")
    assert left.command("sa", "delete", "out").returncode == 0
    assert left.command("sa", "delete", "in").returncode == 0
    assert left.host.link("team0")["mtu"] == 1400


def test_two_teams_in_one_process(single: tuple[Switch, Esprit], tmp_path: Path) -> None:
    _, esprit = single
    before = system(esprit.host)
    esprit.up(plain("eth1"), str(team_file(tmp_path / "second.toml", plain("eth2", name="team1"))))
    done = esprit.command("team", "show")
    assert done.returncode != 0
    assert "team0, team1" in done.stderr
    assert esprit.ask("team", "show", "-t", "team1")[0]["active"] == ["eth2"]
    assert esprit.end() == 0
    assert system(esprit.host) == before


def test_flows_spread_over_a_bundle_of_sas(pair: tuple[Switch, Esprit, Esprit]) -> None:
    switch, left, right = pair
    left.up(bundle("10.9.0.1", "10.9.0.2", "eth1", "eth2"))
    right.up(bundle("10.9.0.2", "10.9.0.1", "eth1", "eth2", out="b", into="a"))
    with listening(switch, ["left-eth1", "left-eth2"], NEEDLE) as seen:
        # One flow hashes to one member; of sixteen, all go by one only once in 2^15 times.
        for _ in range(16):
            assert transfer(left.host, right.host, "10.9.0.2", NEEDLE, 20) == 20 * len(NEEDLE)
    assert [port["hits"] for port in seen.values()] == [[], []]
    packets = {sa["dev"]: sa["packets"] for sa in left.ask("sa", "show") if sa["dir"] == "out"}
    assert packets.keys() == {"eth1", "eth2"}
    assert all(packets.values()), packets
    for side in (left, right):
        assert all("replay-too-old" not in sa["drops"] for sa in side.ask("sa", "show"))

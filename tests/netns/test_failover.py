"""A team in trouble on real devices: deaf members, engines that are lost, NICs that vanish."""

import itertools
import json
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.netns.running import Esprit, listening, protected, transfer
from tests.netns.test_no_plaintext import (
    RECEIVER,
    SENDER,
    every_port,
    happened_since,
    telling,
)

from esprit.demo.lab import Lab, Switch, await_true

NEEDLE = b"esprit-failover-test-needle-" + bytes(range(48))
LEFT, RIGHT = "10.9.0.1", "10.9.0.2"
TIMES = 20
ENGINES = """
[[member]]
interface = "eth2"
engine = { kind = "asic", rate = "1G" }
"""


def one_asic(text: str) -> str:
    """The team's only engine is a simulated one, of its second member."""
    cores = '[[engine]]\nname = "worker"\nkind = "cpu"\nthreads = 0\n'
    assert cores in text
    text = text.replace(cores, "")
    return text.replace('[[member]]\ninterface = "eth2"\n', ENGINES)


@pytest.fixture
def pair(lab: Lab, tmp_path: Path) -> Iterator[tuple[Switch, Esprit, Esprit]]:
    switch, left, right = lab.switch(), lab.host("left"), lab.host("right")
    for host in (left, right):
        for interface in ("eth1", "eth2"):
            switch.plug(host, interface)
    ours, theirs = Esprit(left, tmp_path / "left"), Esprit(right, tmp_path / "right")
    yield switch, ours, theirs
    ours.close()
    theirs.close()


def up(left: Esprit, right: Esprit, *, more: str = "", engines: bool = False) -> None:
    text = protected(LEFT, RIGHT, "eth1", "eth2")
    left.up((one_asic(text) if engines else text) + more)
    right.up(protected(RIGHT, LEFT, "eth1", "eth2", out="b", into="a"))


def member(team: Esprit, name: str) -> dict[str, Any]:
    (found,) = team.ask("member", "show", name)
    return dict(found)


def monitor(team: Esprit) -> "subprocess.Popen[bytes]":
    return team.host.start(
        *(sys.executable, "-m", "esprit", "monitor", "-j"),
        stdout=subprocess.PIPE,
        env=team.environment,
    )


def heard_of(process: "subprocess.Popen[bytes]", kind: str) -> dict[str, Any]:
    """The next event of a kind."""
    assert process.stdout is not None
    for line in process.stdout:
        event: dict[str, Any] = json.loads(line)
        if event["kind"] == kind:
            return event
    raise AssertionError("the monitor ended")


@pytest.mark.parametrize("target", ["", f'target = "{RIGHT}"\n'], ids=["by members", "by target"])
def test_a_member_that_is_up_and_deaf_is_left(
    pair: tuple[Switch, Esprit, Esprit], target: str
) -> None:
    switch, left, right = pair
    up(left, right, more=f'[probe]\nevery = "20ms"\nhold = "200ms"\n{target}')
    await_true(lambda: member(left, "eth1")["probes"]["heard"] > 5, "the first probes")
    assert left.ask("team", "show")[0]["active"] == ["eth1"]
    # The port leaves the switch and keeps its carrier: what is sent there is lost.
    port = switch.port(left.host, "eth1")
    switch.ip("link", "set", port, "nomaster")
    await_true(lambda: left.ask("team", "show")[0]["active"] == ["eth2"], "the takeover")
    found = member(left, "eth1")
    assert (found["role"], found["heard"], found["operstate"]) == ("deaf", False, "UP")
    assert found["probes"]["missed"] > 0
    assert transfer(left.host, right.host, RIGHT, NEEDLE, 100) == 100 * len(NEEDLE)
    switch.ip("link", "set", port, "master", switch.BRIDGE)
    await_true(lambda: member(left, "eth1")["role"] == "waiting", "its hearing")
    assert left.ask("team", "show")[0]["active"] == ["eth2"], 'failback = "never"'


def test_a_waiting_member_that_is_deaf_is_not_in_line(
    pair: tuple[Switch, Esprit, Esprit],
) -> None:
    switch, left, right = pair
    up(left, right, more='[probe]\nevery = "20ms"\nhold = "200ms"\n')
    await_true(lambda: member(left, "eth2")["probes"]["heard"] > 5, "the first probes")
    switch.ip("link", "set", switch.port(left.host, "eth2"), "nomaster")
    await_true(lambda: member(left, "eth2")["role"] == "deaf", "the finding")
    (team,) = left.ask("team", "show")
    assert (team["active"], team["receiver"]) == (["eth1"], "eth1")


def test_failback_waits_and_the_preferred_member_takes_back(
    pair: tuple[Switch, Esprit, Esprit],
) -> None:
    switch, left, right = pair
    up(left, right)
    done = left.command("team", "set", "failback=always", "failback_delay=1s", "preferred=eth1")
    assert done.returncode == 0, done.stderr
    switch.pull(left.host, "eth1")
    await_true(lambda: left.ask("team", "show")[0]["active"] == ["eth2"], "the takeover")
    with monitor_of(left) as process:
        switch.insert(left.host, "eth1")
        risen = heard_of(process, "link")
        assert (risen["member"], risen["up"]) == ("eth1", True)
        while (plan := heard_of(process, "plan"))["active"] != "eth1":
            pass
    assert plan["time"] - risen["time"] >= 1_000_000_000
    assert transfer(left.host, right.host, RIGHT, NEEDLE, 100) == 100 * len(NEEDLE)


@contextmanager
def monitor_of(team: Esprit) -> Iterator["subprocess.Popen[bytes]"]:
    """What a team tells from now on, once it is known to be listened to."""
    process = monitor(team)
    out = process.stdout
    assert out is not None
    try:
        # Changed and put back until the monitor has told of it.
        values = itertools.cycle(("0.2", "0.1"))
        await_true(
            lambda: (
                team.command("team", "set", f"headroom={next(values)}").returncode == 0
                and select.select([out], [], [], 0.2)[0]
            ),
            "the monitor",
        )
        yield process
    finally:
        process.kill()
        process.communicate()


def test_with_no_engine_left_ipsec_is_withdrawn_and_plain_traffic_goes_on(
    pair: tuple[Switch, Esprit, Esprit],
) -> None:
    switch, left, right = pair
    up(left, right, engines=True)
    # Beside what is protected, the team carries plain traffic: another address of each.
    for team, address in ((left, "10.8.0.1/24"), (right, "10.8.0.2/24")):
        team.host.ip("address", "add", address, "dev", "team0")
    with monitor_of(left) as process:
        with (
            listening(switch, every_port(switch), NEEDLE) as seen,
            telling(right.host, RECEIVER) as receiver,
            telling(left.host, SENDER, RIGHT, NEEDLE.hex()) as sender,
        ):
            happened_since(receiver, time.monotonic_ns(), TIMES)
            assert left.command("engine", "fault", "eth2-asic", "die").returncode == 0
            heard_of(process, "ipsec-withdrawn")
            happened_since(sender, time.monotonic_ns(), TIMES)
            features = {one["feature"]: one for one in left.ask("features")}
            (team,) = left.ask("team", "show")
        assert {port["drops"] for port in seen.values()} == {0}
        assert {port["found"][0] for port in seen.values()} == {0}, "it fails closed"
        assert team["ipsec"] is False
        assert team["mask"] == {"seal": [], "open": []}
        assert features["esp-tunnel-mode"]["value"] == "off"
        assert features["esp-aes-128-gcm-16"]["value"] == "off"
        assert features["esp-aes-128-gcm-16"]["reason"]
        assert transfer(left.host, right.host, "10.8.0.2", b"plain", 100) == 500
        # A reset makes it anew; it is tested and IPsec is offered again.
        assert left.command("engine", "reset", "eth2-asic").returncode == 0
        heard_of(process, "ipsec-offered")
    assert transfer(left.host, right.host, RIGHT, NEEDLE, 100) == 100 * len(NEEDLE)


def test_an_engine_is_verified_on_demand(pair: tuple[Switch, Esprit, Esprit]) -> None:
    _, left, right = pair
    up(left, right, engines=True)
    done = left.command("engine", "verify", "eth2-asic")
    assert done.returncode == 0, done.stderr
    assert left.command("engine", "fault", "eth2-asic", "wrong", "1").returncode == 0
    done = left.command("engine", "verify", "eth2-asic")
    assert done.returncode == 9, done.stderr
    (engine,) = left.ask("engine", "show", "eth2-asic")
    assert engine["health"] == "failed"
    assert engine["evidence"]
    assert left.command("engine", "reset", "eth2-asic").returncode == 0
    assert left.command("engine", "verify", "eth2-asic").returncode == 0
    (engine,) = left.ask("engine", "show", "eth2-asic")
    assert (engine["health"], engine["evidence"]) == ("ok", [])
    assert transfer(left.host, right.host, RIGHT, NEEDLE, 100) == 100 * len(NEEDLE)


def test_a_member_is_replaced_under_traffic(pair: tuple[Switch, Esprit, Esprit]) -> None:
    switch, left, right = pair
    up(left, right, engines=True)
    switch.plug(left.host, "eth3")
    with (
        telling(right.host, RECEIVER) as receiver,
        telling(left.host, SENDER, RIGHT, NEEDLE.hex()),
    ):
        happened_since(receiver, time.monotonic_ns(), TIMES)
        done = left.command("member", "replace", "eth1", "eth3")
        assert done.returncode == 0, done.stderr
        happened_since(receiver, time.monotonic_ns(), TIMES)
    assert [one["ifname"] for one in left.ask("member", "show")] == ["eth2", "eth3"]
    rules = left.host.rules()
    assert '"eth3"' in rules
    assert '"eth1"' not in rules


def test_a_nic_that_vanishes_is_removed_and_comes_back(
    pair: tuple[Switch, Esprit, Esprit],
) -> None:
    switch, left, right = pair
    up(left, right)
    done = left.command("member", "remove", "eth2")
    assert done.returncode == 0, done.stderr
    done = left.command("member", "add", "eth2", "--engine", "kind=asic", "--engine", "rate=1G")
    assert done.returncode == 0, done.stderr
    left.host.ip("link", "del", "eth2")
    await_true(lambda: [one["ifname"] for one in left.ask("member", "show")] == ["eth1"], "the end")
    assert [one["name"] for one in left.ask("engine", "show")] == ["worker"]
    assert transfer(left.host, right.host, RIGHT, NEEDLE, 100) == 100 * len(NEEDLE)
    switch.plug(left.host, "eth2")
    await_true(lambda: len(left.ask("member", "show")) == 2, "the return")
    # An engine is tested before it is there.
    engines = ["worker", "eth2-asic"]
    await_true(lambda: [one["name"] for one in left.ask("engine", "show")] == engines, "its engine")
    switch.pull(left.host, "eth1")
    await_true(lambda: left.ask("team", "show")[0]["active"] == ["eth2"], "the takeover")
    assert transfer(left.host, right.host, RIGHT, NEEDLE, 100) == 100 * len(NEEDLE)


def last_drop(team: Esprit) -> dict[str, Any]:
    """The last packet that a team dropped; nothing if it has dropped none."""
    done = team.command("explain", "--last-drop", "-j")
    found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
    return found


def test_a_packet_is_explained_and_so_is_the_last_drop(
    pair: tuple[Switch, Esprit, Esprit],
) -> None:
    _, left, right = pair
    up(left, right, engines=True)
    assert transfer(left.host, right.host, RIGHT, NEEDLE, 10) == 10 * len(NEEDLE)
    found = left.ask("explain", f"tcp:{LEFT}:1234->{RIGHT}:9000")
    assert (found["policy"], found["action"], found["sa"]) == ("all", "protect", "out")
    assert (found["member"], found["engine"], found["reason"]) == ("eth1", "eth2-asic", "")
    assert found["delivery"] == "return"
    assert found["why"] == (
        "policy all says protect: its flow belongs to member eth1, so SA out; "
        "engine eth2-asic is the cheapest that may seal it now, which returns it."
    )
    (candidate,) = found["candidates"]
    assert (candidate["engine"], candidate["verdict"]) == ("eth2-asic", "chosen")
    shown = left.command("explain", LEFT, RIGHT, "--proto", "tcp", "--dport", "9000")
    assert "engine eth2-asic" in shown.stdout
    plain = left.ask("explain", "10.7.0.1", "10.7.0.2")
    assert (plain["action"], plain["sa"], plain["engine"]) == ("bypass", None, None)

    # No engine takes it: what is left of it says which there are, and what is wrong with each.
    assert left.command("engine", "fault", "eth2-asic", "hang").returncode == 0
    with telling(left.host, SENDER, RIGHT, NEEDLE.hex()):
        await_true(
            lambda: last_drop(left).get("reason") == "no-engine", "the drop that no engine took"
        )
    drop = last_drop(left)
    assert (drop["dir"], drop["dst"], drop["policy"]) == ("out", RIGHT, "all")
    assert [(one["engine"], one["verdict"]) for one in drop["candidates"]] == [
        ("eth2-asic", "hung")
    ]
    assert drop["candidates"][0]["cost_ns"] > 0
    shown = left.command("explain", "--last-drop")
    assert "no-engine" in shown.stdout
    assert "hung" in shown.stdout
    assert left.command("sa", "delete", "out").returncode == 0
    found = left.ask("explain", f"tcp:{LEFT}:1234->{RIGHT}:9000")
    assert found["reason"] == "no-sa"
    with telling(left.host, SENDER, RIGHT, NEEDLE.hex()) as sender:
        happened_since(sender, time.monotonic_ns(), TIMES)
    drop = left.ask("explain", "--last-drop")
    assert (drop["reason"], drop["dir"], drop["dst"], drop["policy"]) == (
        "no-sa", "out", RIGHT, "all",
    )  # fmt: skip
    assert drop["meaning"]

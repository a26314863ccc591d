"""Engines that join and leave a team while its traffic runs, on real devices."""

import time
from typing import Any

from tests.netns.running import Esprit, listening
from tests.netns.test_failover import LEFT, NEEDLE, RIGHT, TIMES, member, pair, up
from tests.netns.test_no_plaintext import RECEIVER, SENDER, every_port, happened_since, telling

from esprit.demo.lab import Switch, await_true

__all__ = ["pair"]  # the fixture


def engine(team: Esprit, name: str) -> dict[str, Any]:
    (found,) = team.ask("engine", "show", name)
    return dict(found)


def done(team: Esprit, *words: str) -> None:
    said = team.command(*words)
    assert said.returncode == 0, said.stderr


def test_engines_join_and_leave_a_live_team(pair: tuple[Switch, Esprit, Esprit]) -> None:
    switch, left, right = pair
    # eth1 is active and has no engine; the only one is that of eth2, which waits.
    up(left, right, engines=True)
    with listening(switch, every_port(switch), NEEDLE) as seen:
        with (
            telling(right.host, RECEIVER) as receiver,
            telling(left.host, SENDER, RIGHT, NEEDLE.hex()),
        ):
            happened_since(receiver, time.monotonic_ns(), TIMES)
            # One of no member, and the quickest: the work is its own at once.
            done(left, "engine", "add", "card", "kind=asic", "rate=100G", "latency=1us")
            added = engine(left, "card")
            assert (added["health"], added["ifname"]) == ("ok", None)
            assert added["tests"]
            assert all(test["passed"] for test in added["tests"])
            assert added["tiers"]["primary"] is None
            assert added["tiers"]["secondary"] is not None
            await_true(lambda: engine(left, "card")["secondary_jobs"] > TIMES, "work for it")
            assert "card" in {
                provider
                for line in left.ask("features")
                if line["feature"] == "esp-aes-128-gcm-16"
                for provider in line["providers"]
            }
            # What it had is done by the other one.
            done(left, "engine", "remove", "card")
            happened_since(receiver, time.monotonic_ns(), TIMES)
            assert [one["name"] for one in left.ask("engine", "show")] == ["eth2-asic"]
            # The active member is given one of its own, which then does its traffic.
            done(left, "engine", "add", "own", "--member", "eth1", "kind=asic", "rate=10G")
            assert member(left, "eth1")["engine"] == "own"
            await_true(lambda: engine(left, "own")["primary_jobs"] > TIMES, "primary use")
            # The other member loses its own and gets it back.
            done(left, "engine", "remove", "eth2-asic")
            assert member(left, "eth2")["engine"] is None
            done(left, "engine", "add", "eth2-asic", "--member", "eth2", "kind=asic", "rate=1G")
            assert member(left, "eth2")["engine"] == "eth2-asic"
            happened_since(receiver, time.monotonic_ns(), TIMES)
            switch.pull(left.host, "eth1")
            await_true(lambda: engine(left, "eth2-asic")["primary_jobs"] > TIMES, "primary use")
            happened_since(receiver, time.monotonic_ns(), TIMES)
        assert left.ask("explain", LEFT, RIGHT)["engine"] == "eth2-asic"
    assert {port["drops"] for port in seen.values()} == {0}
    assert {port["found"][0] for port in seen.values()} == {0}

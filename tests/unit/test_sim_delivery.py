"""Who sends what another member's engine sealed: with `auto`, job by job, whoever is the sooner."""

import pytest

from esprit import sim
from esprit.sim.run import Run

# eth1 has the only engine. eth2's packets are sealed there, and leave by eth1 (direct), or go back
# to eth2 and leave there (return).
FILE = """
name = "delivery"
duration = "12ms"
[team]
name = "team0"
mode = "balance-alb"
delivery = "{delivery}"
[team.sas]
bundle = true
[[team.member]]
interface = "eth1"
rate = "{wire}"
engine = {{ kind = "asic", rate = "10G", transfer = "{way}" }}
[[team.member]]
interface = "eth2"
rate = "10G"
[[traffic]]
name = "all"
pattern = "poisson"
rate = "2G"
size = 1400
"""


def sent(delivery: str, *, wire: str, way: str) -> tuple[int, int, float]:
    """Packets that eth1 sent for eth2, jobs of eth2 that it sealed, and packets dropped."""
    run = Run(sim.read(FILE.format(delivery=delivery, wire=wire, way=way)))
    report = run.through()
    assert report.violation is None
    member = run.host.native.snapshot()["members"][run.host.members["eth1"]]
    return (
        member["direct"],
        int(report.figures["engine.eth1-asic.secondary"]),
        report.figures["drops"],
    )


@pytest.mark.parametrize("wire", ["1.2G", "10G"])
@pytest.mark.parametrize("way", ["0", "20us"])
def test_return_and_direct_ask_for_no_cost(wire: str, way: str) -> None:
    direct, secondary, _ = sent("return", wire=wire, way=way)
    assert (direct, secondary > 0) == (0, True)
    direct, secondary, _ = sent("direct", wire=wire, way=way)
    assert direct >= secondary > 0, "a job has a packet at least, and every one was sent so"


def test_where_the_way_back_takes_time_and_the_engines_member_is_free_nearly_all_is_direct() -> (
    None
):
    always, jobs, _ = sent("direct", wire="10G", way="20us")
    # A burst of its own packets may fill its ring for longer than the way back takes.
    direct, same, dropped = sent("auto", wire="10G", way="20us")
    assert (same, dropped) == (jobs, 0)
    assert always * 0.95 < direct <= always


def test_where_the_way_back_takes_none_only_a_queue_of_the_requester_makes_it_direct() -> None:
    direct, secondary, _ = sent("auto", wire="10G", way="0")
    assert 0 < direct < secondary / 10


def test_where_the_engines_member_is_busy_some_jobs_are_direct_and_others_return() -> None:
    always, secondary, dropped = sent("direct", wire="1.2G", way="20us")
    # Its wire is too narrow for all of it.
    assert dropped > 0
    direct, _, dropped = sent("auto", wire="1.2G", way="20us")
    assert secondary / 4 < direct < always * 3 / 4
    assert dropped == 0


def test_what_waits_in_the_devices_own_ring_counts() -> None:
    half = {
        delivery: Run(sim.read(FILE.format(delivery=delivery, wire="1.2G", way="20us")))
        .through()
        .figures["p50_ns"]
        for delivery in ("return", "direct", "auto")
    }
    # A ring of 256 packets at 1.2 Gbit/s is 2.4 ms long; the way back 20 us.
    assert half["direct"] > 1_000_000
    assert half["auto"] < half["return"] + 40_000

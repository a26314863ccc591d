"""What a simulated device's keys change: who gets jobs, when they are back, what counts as hung."""

import pytest

from esprit import sim

FILE = """
name = "keys"
duration = "8ms"
warmup = "1ms"
[team]
name = "team0"
mode = "active-backup"
[team.sas]
esn = {esn}
replay_window = {window}
[[team.member]]
interface = "eth1"
[[engine]]
name = "first"
kind = "asic"
rate = "40G"
latency = "5us"
{keys}
[[engine]]
name = "second"
kind = "asic"
rate = "2G"
[[traffic]]
name = "all"
direction = "{direction}"
rate = "{rate}"
size = 1400
{more}
"""


def figures(
    keys: str = "",
    *,
    esn: bool = True,
    window: int = 2048,
    direction: str = "out",
    rate: str = "1G",
    more: str = "",
) -> dict[str, float]:
    text = FILE.format(
        keys=keys, esn=str(esn).lower(), window=window, direction=direction, rate=rate, more=more
    )
    report = sim.run(sim.read(text))
    assert report.violation is None
    return dict(report.figures)


def jobs(found: dict[str, float]) -> tuple[bool, bool]:
    """Whether each of the two engines had any."""
    return found["engine.first.secondary"] > 0, found["engine.second.secondary"] > 0


def test_without_a_word_the_first_does_it_all() -> None:
    assert jobs(figures()) == (True, False)


@pytest.mark.parametrize("direction", ["out", "in"])
def test_without_esn_an_engine_has_no_job_of_an_sa_with_it(direction: str) -> None:
    found = figures("esn = false", direction=direction)
    assert jobs(found) == (False, True)
    assert found["drops"] == 0
    assert jobs(figures("esn = false", esn=False, direction=direction)) == (True, False)


def test_a_window_larger_than_an_engine_keeps_is_opened_by_another() -> None:
    small = "max_replay_window = 1024"
    assert jobs(figures(small, direction="in")) == (False, True)
    assert jobs(figures(small, direction="in", window=1024)) == (True, False)
    assert jobs(figures(small, direction="out")) == (True, False), "nothing is opened"


def test_where_every_engine_lacks_it_packets_are_dropped_by_name() -> None:
    lacking = FILE.replace('rate = "2G"', 'rate = "2G"\nesn = false').format(
        keys="esn = false", esn="true", window=2048, direction="out", rate="1G", more=""
    )
    report = sim.run(sim.read(lacking))
    assert report.figures["drop.no-engine"] == report.figures["sent"] > 0


def test_others_jobs_avoid_an_engine_at_the_end_of_a_long_way() -> None:
    # The second takes 20 us and some; each part of the way alone is longer.
    assert jobs(figures('transfer = "100us"')) == (False, True)
    assert jobs(figures('transfer_rate = "100M"')) == (False, True)
    assert jobs(figures('transfer = "1us"\ntransfer_rate = "400G"')) == (True, False)


def test_completions_that_are_gathered_come_later() -> None:
    at_once, gathered = figures(), figures('coalesce = "10us"')
    assert jobs(gathered) == (True, False)
    assert at_once["p50_ns"] < gathered["p50_ns"] <= at_once["p50_ns"] + 10_000


def test_a_short_queue_is_full_sooner() -> None:
    deep, short = figures(rate="8G"), figures("queue_jobs = 1", rate="8G")
    assert jobs(deep) == (True, False)
    assert jobs(short) == (True, True), "what finds no room goes on to the next"


def test_a_patient_engine_that_is_late_is_not_called_hung() -> None:
    late = '[[fault]]\nat = "2ms"\nkind = "late"\nengine = "first"\nvalue = 3000'
    assert figures(more=late)["hung"] == 1
    assert figures('patience = "6ms"', more=late)["hung"] == 0

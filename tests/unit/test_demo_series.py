"""What the demonstration derives from its samples: pauses, rates, shares, and intact transfers."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from esprit.demo.content import BLOCK, CANARY_LEN, SPACING, Content
from esprit.demo.history import History, Sample, shares
from esprit.demo.series import Ledger, Pause, Series

CANARY = b"canary, 16 bytes"


def series(*times: int) -> Series:
    made = Series()
    made.add((time, 1000) for time in times)
    return made


def sample(time: int, **engines: int) -> Sample:
    return Sample(
        time=time, engines=engines, members={}, health={}, active=(), up=(), mode="active-backup"
    )


def test_a_pause_is_bounded_by_the_bytes_around_it() -> None:
    stream = series(10, 11, 12, 240, 241)
    assert stream.longest_pause(12, 500) == Pause(begin=12, end=240)


def test_a_pause_that_began_before_the_window_counts_whole() -> None:
    assert series(10, 240, 241).longest_pause(100, 500) == Pause(begin=10, end=240)


def test_a_stream_that_ended_before_the_window_has_no_pause() -> None:
    assert series(10, 11, 12).longest_pause(100, 500) is None


def test_pauses_outside_the_window_do_not_count() -> None:
    assert series(10, 300, 301, 303, 900).longest_pause(301, 302) == Pause(begin=301, end=303)


@given(st.lists(st.integers(0, 2000), min_size=2, unique=True).map(sorted))
def test_the_longest_pause_is_the_largest_gap(times: list[int]) -> None:
    pause = series(*times).longest_pause(times[0], times[-1])
    assert pause is not None
    assert pause.length == max(b - a for a, b in itertools.pairwise(times))


def test_a_rate_is_in_bits_per_second() -> None:
    assert series(*range(1000)).rate(0, 1000) == 8_000_000


def test_a_transfer_is_verified_where_both_ends_agree() -> None:
    ledger = Ledger()
    ledger.sent("a.0", 10, "x")
    assert (ledger.verified, ledger.unmatched) == (0, 0)
    ledger.got("a.0", 10, "x")
    ledger.got("a.0", 30, "y")
    assert (ledger.verified, ledger.unmatched) == (10, 1)
    ledger.sent("a.0", 30, "y")
    assert (ledger.verified, ledger.unmatched, ledger.intact) == (30, 0, True)
    assert ledger.objects == {"a.0": "y"}


def test_a_single_other_digest_breaks_a_transfer() -> None:
    ledger = Ledger()
    ledger.sent("a.0", 10, "x")
    ledger.got("a.0", 10, "z")
    assert not ledger.intact
    assert ledger.verified == 0


@given(st.integers(0, 3 * BLOCK - SPACING - CANARY_LEN + 1))
def test_every_run_of_bytes_as_long_as_a_segment_holds_a_canary(start: int) -> None:
    assert CANARY in CONTENT[start : start + SPACING + CANARY_LEN - 1]


CONTENT = b"".join(Content(seed=b"a", canary=CANARY, size=3 * BLOCK).blocks())


def test_content_depends_on_its_seed_and_never_repeats() -> None:
    other = Content(seed=b"b", canary=CANARY, size=3 * BLOCK)
    blocks = {bytes(block) for block in other.blocks()}
    blocks |= {CONTENT[at : at + BLOCK] for at in range(0, 3 * BLOCK, BLOCK)}
    assert len(blocks) == 6


def test_work_is_shared_out_over_the_window_alone() -> None:
    history = History(
        [sample(0, cpu=0), sample(100, cpu=50, asic=50), sample(200, cpu=50, asic=250)]
    )
    assert shares(history.engine_bytes(0, 100)) == {"cpu": 0.5, "asic": 0.5}
    assert shares(history.engine_bytes(150, 200)) == {"cpu": 0.0, "asic": 1.0}


def test_an_engine_that_came_back_counts_from_nothing() -> None:
    history = History([sample(0, asic=900), sample(100, asic=30)])
    assert history.engine_bytes(0, 100) == {"asic": 30}

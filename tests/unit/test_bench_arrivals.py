"""Accounting by number: gaps and losses of what a receiver wrote down."""

import struct
from pathlib import Path

from bench.arrivals import Arrival, gap, read, silence_at

MS = 1_000_000


def stream(*numbers: int, late: dict[int, int] | None = None) -> list[Arrival]:
    """Packets that are sent a millisecond apart and take none, but for those that are late."""
    late = late or {}
    came = [Arrival(0, n, n * MS, n * MS + late.get(n, 0)) for n in numbers]
    return sorted(came, key=lambda one: one.arrived)


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "records"
    words = [(0, 10, 11), (3 << 40 | 7, 20, 25), (1, 30, 31)]
    file.write_bytes(b"".join(struct.pack("=QQQ", *record) for record in words))
    assert read(file, 1, 1) == [Arrival(3, 7, 20, 25)]
    assert [one.number for one in read(file, 0, 3)] == [0, 7, 1]


def test_nothing_is_missing_where_nothing_happened() -> None:
    found = gap(stream(*range(10)), 5 * MS)
    assert found is not None
    assert (found.first.number, found.last.number) == (5, 4)
    assert (found.lost, found.lost_after, found.silence) == (0, 0, MS)


def test_what_was_sent_before_the_first_that_came_is_lost_by_the_interruption() -> None:
    # The event is at 4.5 ms: 5 and 6 went to a dead link, 8 is lost later, for another reason.
    found = gap(stream(0, 1, 2, 3, 4, 7, 9), 4 * MS + MS // 2)
    assert found is not None
    assert found.first.number == 7
    assert found.first.arrived - (4 * MS + MS // 2) == 2 * MS + MS // 2
    assert (found.lost, found.lost_after) == (2, 1)


def test_what_waited_in_front_counts() -> None:
    # 3 and 4 were sent before the event and came after it, by the other member.
    found = gap(stream(0, 1, 3, 4, 5, late={3: 4 * MS, 4: 3 * MS, 5: 3 * MS}), 4 * MS + 1)
    assert found is not None
    assert found.first.number == 5
    assert found.last.number == 4
    assert found.lost == 1


def test_there_is_no_gap_where_nothing_came_after_the_event_or_before_it() -> None:
    assert gap(stream(0, 1, 2), 5 * MS) is None
    assert gap(stream(5, 6, 7), 4 * MS) is None
    assert gap([], 0) is None


def test_a_silence_is_between_two_packets() -> None:
    assert silence_at([], 0) is None
    assert silence_at(stream(1), 0) is None
    assert silence_at(stream(1), 2 * MS) is None
    found = silence_at(stream(0, 1, 5, 6, 20), 3 * MS)
    assert found is not None
    assert [one.number for one in found] == [1, 5]

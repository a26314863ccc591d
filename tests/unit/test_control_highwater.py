"""Rule 2 across restarts: whatever is killed when, no number is given out twice."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esprit.control.highwater import BLOCK, SLACK, TOP_STEP, acquire, fingerprint
from esprit.errors import KeyInUse, StateUnusable

KEY = bytes(range(20))
LIMIT = 1 << 32


def test_a_mark_is_on_disk_before_its_numbers_may_be_used(tmp_path: Path) -> None:
    mark = acquire(KEY, "out", subject="SA a", directory=tmp_path)
    granted = mark.reserve(1, LIMIT)
    (file,) = tmp_path.glob("*.out")
    assert json.loads(file.read_text())["mark"] == granted == 1 + BLOCK
    mark.release()


def test_a_killed_process_never_reuses_a_number(tmp_path: Path) -> None:
    first = acquire(KEY, "out", subject="SA a", directory=tmp_path)
    granted = first.reserve(1, LIMIT)
    first.release()  # as the kernel does for a killed process; nothing was settled
    second = acquire(KEY, "out", subject="SA a", directory=tmp_path)
    assert second.value >= granted
    second.release()


def test_a_clean_end_costs_little_of_the_number_space(tmp_path: Path) -> None:
    mark = acquire(KEY, "out", subject="SA a", directory=tmp_path)
    mark.reserve(1, LIMIT)
    mark.settle(1000)
    mark.release()
    again = acquire(KEY, "out", subject="SA a", directory=tmp_path)
    assert 1000 <= again.value <= 1000 + SLACK
    again.release()


def test_no_block_reaches_beyond_the_last_number(tmp_path: Path) -> None:
    mark = acquire(KEY, "out", subject="SA a", directory=tmp_path)
    assert mark.reserve(LIMIT - 10, LIMIT) == LIMIT
    mark.release()


def test_one_key_and_salt_serve_one_security_association(tmp_path: Path) -> None:
    mark = acquire(KEY, "out", subject="SA a", directory=tmp_path)
    with pytest.raises(KeyInUse, match="SA b"):
        acquire(KEY, "out", subject="SA b", directory=tmp_path)
    mark.release()
    acquire(KEY, "out", subject="SA b", directory=tmp_path).release()


def test_the_key_is_not_in_the_folder(tmp_path: Path) -> None:
    mark = acquire(KEY, "out", subject="SA a", directory=tmp_path)
    mark.reserve(1, LIMIT)
    mark.release()
    for path in tmp_path.iterdir():
        assert KEY.hex() not in path.name
        assert KEY.hex() not in path.read_text()
        assert path.stat().st_mode & 0o077 == 0
    assert fingerprint(KEY) != fingerprint(KEY[:-1] + b"\xff")


@pytest.mark.parametrize(
    "content",
    ["", "not json", "{}", '{"version": 1, "direction": "in", "mark": 5}', "[1]",
     '{"version": 1, "direction": "out", "mark": "5"}',
     '{"version": 1, "direction": "out", "mark": -1}',
     '{"version": 9, "direction": "out", "mark": 5}'],
)  # fmt: skip
def test_a_damaged_mark_is_refused_and_never_guessed_at(tmp_path: Path, content: str) -> None:
    (tmp_path / f"{fingerprint(KEY)}.out").write_text(content)
    with pytest.raises(StateUnusable, match="holds no high-water mark"):
        acquire(KEY, "out", subject="SA a", directory=tmp_path)
    # The lock is not left behind: a repaired file can be used.
    (tmp_path / f"{fingerprint(KEY)}.out").write_text(
        '{"version": 1, "direction": "out", "mark": 5}'
    )
    mark = acquire(KEY, "out", subject="SA a", directory=tmp_path)
    assert mark.value == 5
    mark.release()


def test_an_inbound_top_is_written_when_it_has_moved_far_enough(tmp_path: Path) -> None:
    mark = acquire(KEY, "in", subject="SA a", directory=tmp_path)
    mark.saw(TOP_STEP - 1)
    assert not list(tmp_path.glob("*.in"))
    mark.saw(TOP_STEP)
    mark.saw(TOP_STEP + 5, final=True)
    mark.release()
    again = acquire(KEY, "in", subject="SA a", directory=tmp_path)
    assert again.value == TOP_STEP + 5
    again.release()


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(st.integers(0, 3 * BLOCK), st.sampled_from(["kill", "end"])),
        min_size=1,
        max_size=8,
    ),
    st.binary(min_size=20, max_size=20),
)
def test_numbers_of_all_lives_of_a_key_are_disjoint(
    tmp_path: Path, lives: list[tuple[int, str]], key: bytes
) -> None:
    highest = 0
    folder = tmp_path / fingerprint(key)
    for wanted, end in lives:
        mark = acquire(key, "out", subject="SA a", directory=folder)
        number = max(mark.value, 1)
        assert number > highest or highest == 0
        granted = mark.reserve(number, LIMIT)
        used = 0
        while used < wanted:
            take = min(wanted - used, granted - number)
            if take:
                number += take
                used += take
                highest = number - 1
            granted = mark.reserve(number, LIMIT)
            assert number <= granted
        if end == "end":
            mark.settle(number)
        mark.release()
    for path in folder.iterdir():
        path.unlink()

"""Percentiles and distributions of the bench."""

from bench.figures import distribution, figure, median, percentile, spread
from hypothesis import given
from hypothesis import strategies as st

VALUES = st.lists(st.integers(min_value=-1000, max_value=1000).map(float), min_size=1)


def test_a_percentile_is_a_value_that_occurred() -> None:
    values = [float(n) for n in range(1, 201)]
    assert percentile(values, 0.5) == 100
    assert percentile(values, 0.99) == 198
    assert percentile(values, 1) == 200
    assert percentile([3.0], 0.99) == 3
    assert percentile([], 0.5) is None


@given(VALUES, st.floats(min_value=0.01, max_value=1))
def test_so_many_do_not_exceed_it_and_no_smaller_value_has_as_many(
    values: list[float], part: float
) -> None:
    found = percentile(values, part)
    assert found in values
    below = sum(value <= found for value in values)
    assert below >= part * len(values) - 1e-6
    smaller = [value for value in values if value < found]
    assert len(smaller) < part * len(values)


@given(VALUES)
def test_a_distribution_is_in_order(values: list[float]) -> None:
    found = distribution(values)
    ordered = [found["p50"], found["p90"], found["p99"], found["max"]]
    assert ordered == sorted(value for value in ordered if value is not None)
    assert found["count"] == len(values)
    assert found["values"] == values


def test_of_very_many_values_some_are_kept() -> None:
    found = distribution([float(n) for n in range(100)], keep=10)
    assert found["values"] == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]


def test_nothing_has_no_figures() -> None:
    nothing = distribution([])
    assert nothing["p50"] is None
    assert spread(nothing, "ms") == "p50 none, p99 none, max none"


def test_figures_are_short() -> None:
    assert figure(1.234, "ms") == "1.23 ms"
    assert figure(123.4, "ms") == "123 ms"
    assert figure(7, "", 0) == "7"


def test_a_medians_interval_is_that_of_the_sign_test() -> None:
    # Of 40 values 13 or fewer lie below the true median with probability 0.019, 14 or fewer with
    # 0.040, so the 14th is left to the interval; and likewise from above.
    assert median(list(range(1, 41))) == {"median": 20.5, "low": 14, "high": 27}
    # Of six, all lie on one side with probability 2/64.
    assert median([3, 1, 2, 6, 5, 4]) == {"median": 3.5, "low": 1, "high": 6}
    assert median([7]) == {"median": 7, "low": 7, "high": 7}


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_a_median_lies_in_its_interval(values: list[float]) -> None:
    found = median(values)
    assert min(values) <= found["low"] <= found["median"] <= found["high"] <= max(values)

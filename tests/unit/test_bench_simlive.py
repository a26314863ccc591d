"""What the live half and the simulated half of a scenario are laid beside each other by."""

from bench.trials.simlive import Look, compare, parts, series


def looks() -> list[Look]:
    """Two engines, of which the first stands still from 2 s on."""
    return [
        Look(
            time=second * 1_000_000_000,
            bytes={"large": 300 * min(second, 2), "small": 100 * second},
            jobs={"large": 3 * min(second, 2), "small": second},
        )
        for second in range(5)
    ]


def test_what_each_engine_did_before_and_after() -> None:
    found = parts(looks(), 2_000_000_000)
    assert found["large"]["before"] == {"bits_per_second": 2400, "jobs": 6, "share": 0.75}
    assert found["large"]["after"] == {"bits_per_second": 0, "jobs": 0, "share": 0}
    assert found["small"]["after"] == {"bits_per_second": 800, "jobs": 1, "share": 1}


def test_shares_over_time() -> None:
    found = series(looks(), 0)
    assert [one["ms"] for one in found] == [1000, 2000, 3000, 4000]
    assert found[0]["shares"] == {"large": 0.75, "small": 0.25}
    assert found[3]["shares"] == {"large": 0, "small": 1}


def test_only_what_both_have_is_compared() -> None:
    half = {"engines": parts(looks(), 2_000_000_000), "takeover_ms": 2.0, "delivered": 50}
    other = half | {"takeover_ms": 4.0, "delivered": 100}
    assert compare(half, other) == {
        "large before": 1,
        "small before": 1,
        "small after": 1,
        "takeover_ms": 0.5,
        "delivered": 0.5,
    }
    assert "takeover_ms" not in compare(half | {"takeover_ms": None}, other)

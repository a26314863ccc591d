"""Where the bench says that packets were lost, and what it takes for a move of an address."""

from bench import processor
from bench.counters import Counts, Whereabouts
from bench.switch import Moves
from bench.trials import TRIALS
from bench.trials.pool import bits


def counts(**changed: object) -> Counts:
    values: dict[str, object] = {
        "left": {},
        "right": {},
        "sealed": 0,
        "numbered": 0,
        "accepted": 0,
        "tap": 0,
        "unread": 0,
    }
    return Counts(**values | changed)  # type: ignore[arg-type]


def test_every_packet_is_somewhere() -> None:
    found = Whereabouts.of(
        1000,
        870,
        counts(left={"engine-full": 50}, right={"icv": 2}, sealed=930, accepted=880, tap=20),
    )
    assert found.lost == 130
    assert (found.before_us, found.counted, found.uncounted) == (20, 50, 0)
    assert (found.link, found.peer) == (50, 10)
    assert found.before_us + found.counted + found.uncounted + found.link + found.peer == 130


def test_what_no_counter_explains_is_told_apart() -> None:
    assert Whereabouts.of(1000, 900, counts(sealed=900, accepted=900)).uncounted == 100


def test_only_what_was_added_counts() -> None:
    before = counts(left={"no-sa": 3}, sealed=10, tap=1)
    after = counts(left={"no-sa": 3, "engine-full": 2}, sealed=15, tap=1)
    added = after.since(before)
    assert (added.left, added.sealed, added.tap) == ({"engine-full": 2}, 5, 0)


def test_a_refusal_by_the_replay_window_has_two_names() -> None:
    refused = {"replay-too-old": 3, "replay-duplicate": 1, "icv": 7}
    assert counts(right=refused).refused_by_replay == 4


def test_an_address_moves_when_it_is_seen_at_another_port() -> None:
    moves = Moves()
    moves.take_all(
        [
            "02:00:00:00:00:01 dev left-eth1 master br0 permanent",
            "02:00:00:00:00:02 dev left-eth1 master br0",
            "02:00:00:00:00:02 dev left-eth1 master br0",
            "Deleted 02:00:00:00:00:03 dev left-eth2 master br0",
            "02:00:00:00:00:02 dev left-eth2 master br0",
            "02:00:00:00:00:02 dev left-eth1 master br0",
            "33:33:00:00:00:01 dev left-eth1 self permanent",
            "",
        ]
    )
    assert moves.moves == {"02:00:00:00:00:02": 2}
    assert moves.total == 2


def test_a_simulated_engines_own_seconds_are_apart() -> None:
    before = {"python": 1.0, "esprit-worker": 2.0}
    after = {"python": 1.5, "esprit-worker": 4.0, "esprit-asic": 3.0, "esprit-cpu-0": 1.0}
    assert processor.split(processor.spent(before, after)) == (3.5, 3.0)


def test_rates_are_read_as_the_configuration_has_them() -> None:
    assert [bits(rate) for rate in ("1.2G", "800M", "64K", "5")] == [1.2e9, 8e8, 6.4e4, 5]


def test_every_trial_says_what_it_is_in_one_line() -> None:
    assert all(trial.what.strip() and "\n" not in trial.what.strip() for trial in TRIALS.values())

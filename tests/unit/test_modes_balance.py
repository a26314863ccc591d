"""Flows follow the measured load and the links' speeds, as few and as seldom as will do."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_modes_plans import ALB, counts, member

from esprit.model import Load, TeamState
from esprit.model.event import LinkChanged, LoadMeasured
from esprit.model.plan import BUCKETS
from esprit.modes import decide
from esprit.modes.balance import EVERY_NS, IDLE, MOVES, capacities, rebalance

S = 1_000_000_000


def measured(state: TeamState, load: dict[int, int], time: int, **more: object) -> LoadMeasured:
    """Each member's bytes, spread over its shares as they are."""
    assert state.plan is not None
    table = state.plan.transmit
    event = LoadMeasured(
        time=time,
        shares=tuple(load[member] // table.count(member) for member in table),
        speeds={one.id: one.speed for one in state.members},
    )
    return replace(event, **more)  # type: ignore[arg-type]


def moved(before: TeamState, after: TeamState) -> set[tuple[int, int]]:
    assert before.plan is not None
    assert after.plan is not None
    both = zip(before.plan.transmit, after.plan.transmit, strict=True)
    return {(old, new) for old, new in both if old != new}


def test_even_load_moves_nothing() -> None:
    state = decide(ALB).state
    for second in range(1, 40):
        decision = decide(state, measured(state, dict.fromkeys((1, 2, 3), 10**7), second * S))
        assert not decision.to_publish
        state = decision.state


def test_a_member_with_more_than_its_due_gives_to_one_with_less() -> None:
    state = decide(ALB).state
    assert state.plan is not None
    after = decide(state, measured(state, {1: 3 * 10**7, 2: 10**7, 3: 10**7}, EVERY_NS)).state
    assert moved(state, after) <= {(1, 2), (1, 3)}
    assert after.plan is not None
    has = 3 * 10**7 * counts(after.plan)[1] / counts(state.plan)[1]
    due = 5 * 10**7 / 3
    assert due < has <= due * 5 / 4, "no more shares than it takes"


def test_shares_move_at_most_once_in_a_while() -> None:
    state = decide(ALB).state
    load = {1: 9 * 10**7, 2: 10**7, 3: 10**7}
    first = decide(state, measured(state, load, EVERY_NS)).state
    assert moved(state, first)
    soon = decide(first, measured(first, load, 2 * EVERY_NS - 1)).state
    assert not moved(first, soon)
    later = decide(soon, measured(soon, load, 2 * EVERY_NS)).state
    assert moved(soon, later)


def test_a_small_difference_and_a_small_load_move_nothing() -> None:
    state = decide(ALB).state
    for load in ({1: 11 * 10**6, 2: 10**7, 3: 10**7}, {1: IDLE // 2, 2: 0, 3: 0}):
        assert not moved(state, decide(state, measured(state, load, EVERY_NS)).state)


def test_one_great_flow_stays_where_it_is() -> None:
    """Moved, it would only burden another member as much."""
    state = decide(ALB).state
    assert state.plan is not None
    share = state.plan.transmit.index(1)
    shares = tuple(10**8 if at == share else 10**5 for at in range(BUCKETS))
    event = LoadMeasured(time=EVERY_NS, shares=shares, speeds={})
    after = decide(state, event).state
    assert after.plan is not None
    assert after.plan.transmit[share] == 1


def test_shares_follow_the_links_speeds_where_all_are_known() -> None:
    fast = replace(ALB, members=(member(1, speed=10_000), member(2, speed=1_000), member(3)))
    assert counts(decide(fast).plan) == {1: 86, 2: 85, 3: 85}
    state = decide(fast).state
    event = LoadMeasured(time=1, speeds={1: 10_000, 2: 1_000, 3: 1_000})
    plan = decide(state, event).plan
    assert counts(plan) == {1: 214, 2: 21, 3: 21}


def test_a_member_with_frames_waiting_gives_whatever_its_link_says() -> None:
    state = decide(replace(ALB, members=ALB.members[:2])).state
    event = measured(state, {1: 10**7, 2: 10**7}, EVERY_NS, queued=frozenset({1}))
    assert moved(state, decide(state, event).state) == {(1, 2)}


def test_what_was_moved_for_balance_stays_when_something_else_happens() -> None:
    state = decide(ALB).state
    after = decide(state, measured(state, {1: 9 * 10**7, 2: 10**7, 3: 10**7}, EVERY_NS)).state
    assert after.plan is not None
    table = after.plan.transmit
    same = decide(after, LinkChanged(time=EVERY_NS + 1, member=1, up=True, epoch=5)).plan
    assert same.transmit == table
    lost = decide(after, LinkChanged(time=EVERY_NS + 2, member=2, up=False, epoch=6)).plan
    kept = [new for old, new in zip(table, lost.transmit, strict=True) if old != 2]
    assert kept == [old for old in table if old != 2]


@given(
    st.lists(st.sampled_from([1, 2, 3]), min_size=BUCKETS, max_size=BUCKETS),
    st.lists(st.integers(0, 10**7), min_size=BUCKETS, max_size=BUCKETS),
    st.fixed_dictionaries(dict.fromkeys((1, 2, 3), st.integers(1, 100))),
    st.frozensets(st.sampled_from([1, 2, 3])),
)
def test_moving_never_makes_it_worse(
    table: list[int], shares: list[int], worth: dict[int, int], queued: frozenset[int]
) -> None:
    load = Load(shares=tuple(shares), queued=queued, fresh=True)
    after = rebalance(table, worth, load, EVERY_NS)
    assert set(after) <= set(worth)
    assert sum(old != new for old, new in zip(table, after, strict=True)) <= MOVES

    def strain(members: list[int] | tuple[int, ...]) -> float:
        """The load of the most loaded member, by what it is worth."""
        return max(
            sum(size for size, at in zip(shares, members, strict=True) if at == one) / part
            for one, part in worth.items()
        )

    if not queued:
        assert strain(after) <= strain(table)
    assert all(new not in queued for old, new in zip(table, after, strict=True) if old != new)


def test_an_unknown_speed_leaves_the_weights_alone() -> None:
    assert capacities({1: 2, 2: 3}, {1: 10, 2: None}) == {1: 2, 2: 3}
    assert capacities({1: 2, 2: 3}, {1: 10, 2: 20}) == {1: 20, 2: 60}

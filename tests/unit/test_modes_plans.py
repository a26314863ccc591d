"""The two modes, case by case: who carries, who takes over, where engines stand."""

from dataclasses import replace

import pytest

from esprit.model import Capabilities, EngineState, Grant, MemberState, Rate, TeamState
from esprit.model.event import (
    ActiveChosen,
    AnnouncementsChanged,
    EngineJoined,
    EngineLeft,
    EngineReported,
    LinkChanged,
    MemberJoined,
    MemberLeft,
    PortLost,
    Resynced,
    SettingsChanged,
    TookOver,
)
from esprit.model.plan import BUCKETS, Plan
from esprit.modes import MODES, Notice, decide

ALGORITHMS = ("aes-128-gcm-16", "aes-256-gcm-16")
RATES = tuple(
    Rate(algorithm=algorithm, direction=direction, ns_per_packet=50.0, ns_per_byte=0.1)
    for algorithm in ALGORITHMS
    for direction in ("seal", "open")
)
LOOKASIDE = Capabilities(algorithms=ALGORITHMS)
INLINE = Capabilities(algorithms=ALGORITHMS, lookaside=False, inline=True)


def member(id: int, **changes: object) -> MemberState:  # noqa: A002 - as the field is called
    return replace(MemberState(id=id, interface=f"eth{id}", link="up"), **changes)  # type: ignore[arg-type]


def asic(id: int, member: int | None, **changes: object) -> EngineState:  # noqa: A002
    engine = EngineState(
        id=id,
        name=f"asic{id}",
        kind="asic",
        member=member,
        health="ok",
        capabilities=LOOKASIDE,
        rates=RATES,
    )
    return replace(engine, **changes)  # type: ignore[arg-type]


CORES = EngineState(
    id=30, name="cores", kind="cpu", health="ok", capabilities=LOOKASIDE, rates=RATES
)
#: As in the demonstration: eth1 with an engine, eth2 with none, eth3 with an inline one, an
#: accelerator of no NIC, processor cores.
TEAM = TeamState(
    id=0,
    members=(member(1), member(2), member(3)),
    engines=(asic(11, 1), asic(13, 3, capabilities=INLINE), asic(20, None), CORES),
)
ALB = replace(TEAM, mode="balance-alb")


def grants(plan: Plan) -> dict[int, Grant]:
    return {grant.engine: grant for grant in plan.grants}


def tiers(plan: Plan) -> dict[int, int | None]:
    """Tier for secondary use by engine."""
    return {grant.engine: grant.secondary for grant in plan.grants}


# active-backup


def test_one_carries_and_the_others_wait() -> None:
    decision = decide(TEAM)
    plan = decision.plan
    assert (plan.transmit, plan.receiver, plan.takeover) == ((1,), 1, (2, 3))
    assert [(role.carry, role.accept) for role in plan.members] == [
        (True, True),
        (True, False),
        (True, False),
    ]
    assert plan.source_mac == "team"
    assert [decision.state.role(number) for number in (1, 2, 3)] == ["active", "waiting", "waiting"]


def test_the_highest_priority_carries_and_equal_ones_keep_their_order() -> None:
    state = replace(TEAM, members=(member(1), member(2, priority=5), member(3, priority=5)))
    plan = decide(state).plan
    assert (plan.receiver, plan.takeover) == (2, (3, 1))


def test_the_next_takes_over_and_keeps_the_traffic() -> None:
    fallen = decide(decide(TEAM).state, LinkChanged(member=1, up=False, epoch=5))
    assert (fallen.plan.receiver, fallen.plan.takeover, fallen.plan.latch) == (2, (3,), 5)
    assert fallen.plan.epoch == 2
    back = decide(fallen.state, LinkChanged(member=1, up=True, epoch=6))
    assert (back.plan.receiver, back.plan.takeover) == (2, (1, 3)), 'failback is "never"'


def test_a_better_member_takes_the_traffic_back_if_it_may() -> None:
    state = replace(TEAM, failback="better", members=(member(1, priority=1), member(2), member(3)))
    fallen = decide(decide(state).state, LinkChanged(member=1, up=False, epoch=5))
    assert fallen.plan.receiver == 2
    assert decide(fallen.state, LinkChanged(member=1, up=True, epoch=6)).plan.receiver == 1


def test_an_equal_member_is_not_better() -> None:
    state = decide(replace(TEAM, failback="better"), ActiveChosen(member=3))
    assert state.plan.receiver == 3


def test_python_confirms_what_the_worker_did() -> None:
    state = decide(TEAM).state
    event = TookOver(team=0, lost=1, heir=3, epoch=7)
    plan = decide(state, event).plan
    assert (plan.receiver, plan.latch) == (3, 7)
    assert not plan.members[0].carry, "a takeover says that the link fell"


def test_a_takeover_that_a_snapshot_has_overtaken_changes_nothing() -> None:
    state = decide(TEAM, Resynced(epoch=9, links={1: True, 2: True, 3: True}, health={})).state
    decision = decide(state, TookOver(team=0, lost=1, heir=2, epoch=7))
    assert (decision.plan.receiver, decision.plan.latch) == (1, 9)
    assert not decision.to_publish


def test_a_link_event_that_a_snapshot_has_overtaken_changes_nothing() -> None:
    state = decide(TEAM, Resynced(epoch=9, links={1: True}, health={})).state
    assert decide(state, LinkChanged(member=1, up=False, epoch=8)).plan.receiver == 1
    old = decide(state, Resynced(epoch=8, links={1: False}, health={11: "hung"}))
    assert (old.plan.receiver, old.plan.latch, old.changed) == (1, 9, False)


def test_nobody_is_left_and_then_somebody_is() -> None:
    state = TEAM
    for epoch, lost in enumerate((1, 2, 3), 1):
        state = decide(state, LinkChanged(member=lost, up=False, epoch=epoch)).state
    assert state.plan is not None
    assert (state.plan.transmit, state.plan.receiver, state.plan.takeover) == ((), None, ())
    plan = decide(state, LinkChanged(member=2, up=True, epoch=4)).plan
    assert (plan.transmit, plan.receiver) == ((2,), 2)


def test_engines_of_those_who_wait_come_first() -> None:
    plan = decide(replace(TEAM, engines=(*TEAM.engines, asic(12, 2)))).plan
    assert tiers(plan) == {11: 1, 12: 0, 13: None, 20: 0, 30: 2}
    active = grants(plan)[11]
    assert active.limit_ns is not None
    assert active.limit_ns < plan.spill.primary, "others' work never displaces its own"
    assert grants(plan)[12].limit_ns is None


def test_an_engine_outlives_its_wire_and_is_loaded_first() -> None:
    state = decide(TEAM).state
    plan = decide(state, LinkChanged(member=1, up=False, epoch=1)).plan
    cut_off = grants(plan)[11]
    assert (cut_off.secondary, cut_off.primary, cut_off.limit_ns) == (0, None, None)


def test_an_encryption_only_member_is_loaded_first_and_never_carries() -> None:
    state = replace(TEAM, members=(member(1, carry=False), *TEAM.members[1:]))
    decision = decide(state)
    assert decision.plan.receiver == 2
    assert 1 not in decision.plan.takeover
    assert grants(decision.plan)[11].secondary == 0
    assert decision.state.role(1) == "encryption-only"


def test_a_replaced_member_no_longer_gets_the_extra_share() -> None:
    state = decide(decide(TEAM).state, LinkChanged(member=1, up=False, epoch=1)).state
    state = decide(state, MemberLeft(member=1)).state
    assert 11 not in grants(decide(state).plan)
    state = decide(state, MemberJoined(member=member(4, priority=9))).state
    state = decide(state, EngineJoined(engine=asic(14, 4))).state
    better = decide(state, SettingsChanged(failback="better")).plan
    assert better.receiver == 4
    assert grants(better)[14].secondary == 1


def test_a_deleted_interface_does_not_come_back_by_a_link_event() -> None:
    state = decide(decide(TEAM).state, PortLost(member=1, epoch=3)).state
    state = decide(state, LinkChanged(member=1, up=True, epoch=4)).state
    assert state.role(1) == "down"
    assert decide(state, MemberJoined(member=member(1))).state.role(1) == "waiting"


# engines


@pytest.mark.parametrize("mode", MODES)
def test_primary_use_is_for_the_engine_s_own_member(mode: str) -> None:
    state = replace(TEAM, mode=mode)  # type: ignore[arg-type]
    found = grants(decide(state).plan)
    assert (found[11].member, found[11].primary) == (1, 0)
    assert (found[13].member, found[13].primary, found[13].secondary) == (3, 0, None)
    assert found[20].primary is None
    assert found[30].primary is None


@pytest.mark.parametrize(
    ("mode", "software", "tier"),
    [
        ("active-backup", "always", 0),
        ("active-backup", "overflow", 2),
        ("balance-alb", "always", 0),
        ("balance-alb", "overflow", 1),
    ],
)
def test_software_stands_where_the_setting_puts_it(mode: str, software: str, tier: int) -> None:
    state = replace(TEAM, mode=mode, software=software)  # type: ignore[arg-type]
    assert tiers(decide(state).plan)[30] == tier


@pytest.mark.parametrize("mode", MODES)
def test_software_that_never_works_is_not_in_the_plan(mode: str) -> None:
    state = replace(TEAM, mode=mode, software="never")  # type: ignore[arg-type]
    assert 30 not in grants(decide(state).plan)


def test_balance_alb_places_tasks_by_load_in_one_tier() -> None:
    plan = decide(ALB).plan
    assert tiers(plan) == {11: 0, 13: None, 20: 0, 30: 1}
    assert grants(plan)[11].bias_ns > 0, "its member carries"
    assert grants(plan)[20].bias_ns == 0
    state = decide(ALB).state
    cut_off = grants(decide(state, LinkChanged(member=1, up=False, epoch=1)).plan)[11]
    assert (cut_off.secondary, cut_off.bias_ns) == (0, 0)


@pytest.mark.parametrize("mode", MODES)
def test_of_equal_engines_one_of_another_team_comes_last(mode: str) -> None:
    state = replace(TEAM, mode=mode, engines=(asic(40, 99),))  # type: ignore[arg-type]
    (grant,) = decide(state).plan.grants
    assert (grant.member, grant.primary, grant.secondary) == (None, None, 0)
    assert grant.bias_ns > 0


@pytest.mark.parametrize("health", ["untested", "hung", "quarantined", "failed"])
def test_an_engine_that_is_not_verified_is_not_in_the_plan(health: str) -> None:
    state = replace(TEAM, engines=(asic(11, 1, health=health),))
    assert decide(state).plan.grants == ()


@pytest.mark.parametrize("trouble", ["hung", "quarantined", "refused"])
def test_an_engine_in_trouble_comes_back_only_by_another_test(trouble: str) -> None:
    state = decide(TEAM).state
    for word in (trouble, "recovered"):
        state = decide(state, EngineReported(engine=11, what=word)).state
        assert 11 not in grants(decide(state).plan)
    again = decide(state, EngineJoined(engine=asic(11, 1)))
    assert 11 in grants(again.plan)


def test_a_suspect_engine_stays_for_the_pool_to_watch() -> None:
    state = decide(TEAM, EngineReported(engine=11, what="failed")).state
    assert state.engine(11) == asic(11, 1, health="suspect")
    assert 11 in grants(decide(state).plan)
    assert decide(state, EngineReported(engine=11, what="recovered")).state.engine(11) == asic(
        11, 1
    )


def test_a_snapshot_brings_bad_news_of_engines_and_no_good_ones() -> None:
    state = replace(TEAM, engines=(asic(11, 1), asic(20, None, health="failed")))
    event = Resynced(epoch=1, links={}, health={11: "hung", 20: "ok"})
    assert decide(state, event).plan.grants == ()


def test_an_engine_for_one_use_only_is_used_for_that() -> None:
    primary = Capabilities(algorithms=ALGORITHMS, secondary=False)
    secondary = Capabilities(algorithms=ALGORITHMS, primary=False)
    state = replace(
        TEAM, engines=(asic(11, 1, capabilities=primary), asic(12, 2, capabilities=secondary))
    )
    found = grants(decide(state).plan)
    assert (found[11].primary, found[11].secondary) == (0, None)
    assert (found[12].primary, found[12].secondary) == (None, 0)


def test_an_engine_that_only_opens_does_not_seal() -> None:
    state = replace(TEAM, engines=(asic(20, None, seal=False),))
    plan = decide(state).plan
    assert (grants(plan)[20].seal, grants(plan)[20].open) == (False, True)
    assert not plan.protects(1)


def test_a_removed_engine_is_not_in_the_plan() -> None:
    assert 20 not in grants(decide(TEAM, EngineLeft(engine=20)).plan)


# balance-alb


def counts(plan: Plan) -> dict[int, int]:
    return {member: plan.transmit.count(member) for member in sorted(set(plan.transmit))}


def test_all_carry_and_one_receives() -> None:
    plan = decide(ALB).plan
    assert len(plan.transmit) == BUCKETS
    assert counts(plan) == {1: 86, 2: 85, 3: 85}
    assert plan.receiver == 1
    assert plan.takeover == (1, 2, 3)
    assert all(role.carry and role.accept for role in plan.members)
    assert plan.source_mac == "member"


def test_shares_follow_the_weights() -> None:
    state = replace(ALB, members=(member(1, weight=6), member(2), member(3)))
    assert counts(decide(state).plan) == {1: 192, 2: 32, 3: 32}


def worker_s_table(plan: Plan, alive: set[int]) -> tuple[int, ...]:
    """What the worker makes of a Plan when members are lost: ``Route::compute`` of route.rs."""
    heirs = [member for member in plan.takeover if member in alive]
    orphans = 0
    table = []
    for member in plan.transmit:
        if member in alive:
            table.append(member)
        else:
            table.append(heirs[orphans % len(heirs)])
            orphans += 1
    return tuple(table)


def test_the_new_plan_leaves_flows_where_the_worker_moved_them() -> None:
    before = decide(ALB)
    moved = worker_s_table(before.plan, alive={1, 3})
    after = decide(before.state, LinkChanged(member=2, up=False, epoch=1))
    assert after.plan.transmit == moved
    assert counts(after.plan) == {1: 129, 3: 127}


def test_flows_of_a_lost_member_follow_the_weights_where_dealing_in_turn_would_not() -> None:
    state = replace(ALB, members=(member(1, weight=12), member(2), member(3, weight=3)))
    before = decide(state)
    assert counts(before.plan) == {1: 192, 2: 16, 3: 48}
    after = decide(before.state, LinkChanged(member=3, up=False, epoch=1)).plan
    assert counts(after) == {1: 236, 2: 20}
    moved = {a for a, b in zip(before.plan.transmit, after.transmit, strict=True) if a != b}
    assert moved == {3}


def test_a_member_that_returns_gets_its_share_and_others_lose_only_that() -> None:
    state = decide(decide(ALB).state, LinkChanged(member=2, up=False, epoch=1)).state
    assert state.plan is not None
    before = state.plan
    after = decide(state, LinkChanged(member=2, up=True, epoch=2)).plan
    assert counts(after) == {1: 86, 2: 85, 3: 85}
    moved = [a for a, b in zip(after.transmit, before.transmit, strict=True) if a != b]
    assert set(moved) == {2}


def test_the_mode_changes_on_the_running_team() -> None:
    state = decide(TEAM).state
    alb = decide(state, SettingsChanged(mode="balance-alb"))
    assert alb.plan.mode == "balance-alb"
    assert len(alb.plan.transmit) == BUCKETS
    assert alb.plan.receiver == 1, "who carried goes on as receiver"
    back = decide(alb.state, SettingsChanged(mode="active-backup")).plan
    assert (back.transmit, back.mode) == ((1,), "active-backup")


def test_the_source_address_can_be_set() -> None:
    assert decide(replace(ALB, source_mac="team")).plan.source_mac == "team"


# announcements, notices, publication


@pytest.mark.parametrize("mode", MODES)
def test_whoever_may_take_over_has_the_frames_ready(mode: str) -> None:
    state = replace(TEAM, mode=mode, members=(*TEAM.members, member(4, carry=False)))  # type: ignore[arg-type]
    plan = decide(state, AnnouncementsChanged(frames=(b"arp", b"na"))).plan
    assert {a.member: a.frames for a in plan.announce} == dict.fromkeys((1, 2, 3), (b"arp", b"na"))


def test_crossing_a_line_is_told_once() -> None:
    state = replace(TEAM, engines=(asic(20, None),))
    first = decide(state)
    assert [notice.what for notice in first.notices] == ["sharing", "ipsec", "active"]
    assert decide(first.state).notices == ()
    second = decide(first.state, EngineJoined(engine=CORES))
    assert [notice.what for notice in second.notices] == ["spreading"]
    third = decide(second.state, EngineReported(engine=20, what="hung"))
    assert third.notices == (Notice(what="spreading", before=1, after=0),)
    assert third.plan.sharing


def test_only_a_plan_that_says_or_clears_something_is_published() -> None:
    first = decide(TEAM)
    assert first.to_publish
    again = decide(first.state)
    assert not again.to_publish
    assert again.plan.epoch == first.plan.epoch + 1
    flap = decide(first.state, LinkChanged(member=1, up=True, epoch=8))
    assert not flap.changed
    assert flap.clears
    assert flap.to_publish


def test_an_event_of_no_concern_changes_nothing() -> None:
    state = decide(TEAM).state
    for event in (
        LinkChanged(member=99, up=False, epoch=0),
        EngineReported(engine=99, what="hung"),
        EngineReported(engine=None, what="redone"),
        EngineReported(engine=11, what="late"),
        ActiveChosen(member=99),
    ):
        assert not decide(state, event).changed

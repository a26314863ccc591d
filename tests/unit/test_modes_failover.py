"""Who takes over, who takes back, and who stays back for how long: times come with the events."""

from dataclasses import replace

import pytest
from tests.unit.test_modes_plans import ALB, TEAM, asic, member

from esprit.model import Ask, Grant, Plan, ProbeSpec, TeamState
from esprit.model.event import (
    AsksChanged,
    ForeignTried,
    LinkChanged,
    MemberJoined,
    PortLost,
    Probed,
    Resynced,
    SendingFailed,
    SettingsChanged,
    Ticked,
    TookOver,
)
from esprit.model.words import ModeName
from esprit.modes import MODES, Decision, decide
from esprit.modes.placement import HEADROOM_NS
from esprit.modes.steady import LONGEST_NS, REFUSED_NS, STEADY_NS

S = 1_000_000_000


def grants(plan: Plan) -> dict[int, Grant]:
    return {grant.engine: grant for grant in plan.grants}


class History:
    """A team to which things happen, each at its time."""

    def __init__(self, state: TeamState) -> None:
        self.decision = decide(state)
        self.epoch = 0

    def link(self, member: int, up: bool, time: int) -> Decision:
        self.epoch += 1
        event = LinkChanged(time=time, member=member, up=up, epoch=self.epoch)
        self.decision = decide(self.decision.state, event)
        return self.decision

    def tick(self, time: int) -> Decision:
        self.decision = decide(self.decision.state, Ticked(time=time))
        return self.decision


# failback


@pytest.mark.parametrize(
    ("failback", "priority", "receiver"),
    [("never", 9, 2), ("better", 0, 2), ("better", 9, 1), ("always", 0, 1), ("always", -1, 2)],
)
def test_who_takes_the_traffic_back(failback: str, priority: int, receiver: int) -> None:
    members = (member(1), *TEAM.members[1:])
    history = History(replace(TEAM, failback=failback, members=members))  # type: ignore[arg-type]
    history.link(1, False, 1 * S)
    joined = MemberJoined(time=2 * S, member=member(1, priority=priority))
    assert decide(history.decision.state, joined).plan.receiver == receiver


def test_the_preferred_member_stands_above_every_priority() -> None:
    state = replace(TEAM, preferred="eth3", members=(member(1, priority=9), *TEAM.members[1:]))
    history = History(replace(state, failback="better"))
    assert history.decision.plan.receiver == 3
    assert history.decision.plan.takeover == (1, 2)
    assert history.link(3, False, 1).plan.receiver == 1
    assert history.link(3, True, 2).plan.receiver == 3
    unset = decide(history.decision.state, SettingsChanged(preferred=""))
    assert unset.plan.receiver == 1


def test_a_better_member_takes_back_only_after_the_delay() -> None:
    history = History(replace(TEAM, failback="always", failback_delay_ns=10 * S))
    assert history.link(1, False, 1 * S).plan.receiver == 2, "a failover waits for nobody"
    back = history.link(1, True, 20 * S)
    assert (back.plan.receiver, back.deadline) == (2, 30 * S)
    assert history.tick(30 * S - 1).plan.receiver == 2
    taken = history.tick(30 * S)
    assert (taken.plan.receiver, taken.deadline, taken.to_publish) == (1, None, True)


def test_a_link_that_falls_again_begins_its_wait_anew() -> None:
    history = History(replace(TEAM, failback="always", failback_delay_ns=10 * S))
    history.link(1, False, 1 * S)
    history.link(1, True, 20 * S)
    history.link(1, False, 25 * S)
    assert history.link(1, True, 26 * S).deadline == 36 * S
    assert history.tick(30 * S).plan.receiver == 2


# up delay, and members that are not steady


def test_a_member_that_returns_stays_back_while_others_carry() -> None:
    history = History(replace(TEAM, failback="always", up_delay_ns=5 * S))
    history.link(1, False, 1 * S)
    back = history.link(1, True, 2 * S)
    assert (back.plan.receiver, back.plan.takeover, back.deadline) == (2, (3, 1), 7 * S)
    assert back.plan.members[0].carry, "it carries if it must"
    assert back.plan.latch == back.state.link_epoch, "its latch is cleared all the same"
    assert history.tick(7 * S).plan.receiver == 1


def test_a_member_that_is_held_back_carries_if_nobody_else_can() -> None:
    history = History(replace(TEAM, up_delay_ns=5 * S, members=TEAM.members[:1]))
    history.link(1, False, 1 * S)
    assert history.link(1, True, 2 * S).plan.receiver == 1


def test_no_flow_goes_to_a_member_that_is_held_back() -> None:
    history = History(replace(ALB, up_delay_ns=5 * S))
    history.link(2, False, 1 * S)
    back = history.link(2, True, 2 * S).plan
    assert (set(back.carriers), back.takeover) == ({1, 3}, (1, 3))
    assert set(history.tick(7 * S).plan.carriers) == {1, 2, 3}


def test_a_member_that_flaps_stays_back_twice_as_long_each_time_up_to_a_bound() -> None:
    history = History(replace(TEAM, up_delay_ns=5 * S))
    now, holds = 0, []
    for _ in range(6):
        history.link(1, False, now + S)
        back = history.link(1, True, now + 2 * S)
        assert back.deadline is not None
        holds.append(back.deadline - (now + 2 * S))
        now = back.deadline
    assert holds == [5 * S, 10 * S, 20 * S, 40 * S, LONGEST_NS, LONGEST_NS]
    steady = now + STEADY_NS
    history.link(1, False, steady)
    assert history.link(1, True, steady + S).deadline == steady + 6 * S, "it was steady meanwhile"


def test_an_interface_that_was_plugged_in_again_stays_back_too() -> None:
    state = decide(replace(TEAM, up_delay_ns=5 * S)).state
    state = decide(state, PortLost(time=S, member=1, epoch=1)).state
    back = decide(state, MemberJoined(time=2 * S, member=member(1)))
    assert back.deadline == 7 * S
    new = decide(state, MemberJoined(time=2 * S, member=member(4)))
    assert new.deadline is None, "an operator's new member is taken at its word"


def test_a_port_that_refuses_frames_is_tried_again_later_and_later() -> None:
    state = decide(TEAM).state
    first = decide(state, SendingFailed(time=S, member=1, count=16, epoch=1))
    assert (first.plan.receiver, first.plan.takeover, first.plan.latch) == (2, (3, 1), 1)
    assert first.deadline == S + REFUSED_NS
    again = decide(first.state, SendingFailed(time=3 * S, member=1, count=16, epoch=2))
    assert again.deadline == 3 * S + 2 * REFUSED_NS
    old = decide(again.state, SendingFailed(time=3 * S, member=2, count=16, epoch=1))
    assert not old.changed, "a snapshot has told more already"


# members that are up and deaf


@pytest.mark.parametrize("mode", MODES)
def test_a_deaf_member_leaves_and_its_engine_is_loaded_first(mode: str) -> None:
    state = decide(replace(TEAM, mode=mode)).state  # type: ignore[arg-type]
    deaf = decide(state, Probed(member=1, heard=False, epoch=1))
    assert 1 not in deaf.plan.carriers
    assert 1 not in deaf.plan.takeover
    assert not deaf.plan.members[0].carry
    engine = grants(deaf.plan)[11]
    assert (engine.primary, engine.secondary, engine.limit_ns, engine.headroom) == (
        None, 0, None, None,
    )  # fmt: skip
    assert deaf.state.role(1) == "deaf"
    hears = decide(deaf.state, Probed(member=1, heard=True, epoch=2))
    assert hears.state.role(1) in ("active", "waiting")
    assert hears.plan.latch == 2


def test_a_takeover_from_a_deaf_member_says_nothing_of_its_link() -> None:
    state = decide(TEAM).state
    for cause in (
        Probed(time=S, member=1, heard=False, epoch=1),
        SendingFailed(time=S, member=1, count=16, epoch=1),
    ):
        known = decide(state, cause).state
        after = decide(known, TookOver(time=S, team=0, lost=1, heir=2, epoch=1))
        assert after.plan.receiver == 2
        assert after.state.members[0].link == "up"
    hears = decide(
        decide(state, Probed(member=1, heard=False, epoch=1)).state,
        Probed(member=1, heard=True, epoch=2),
    )
    assert hears.plan.members[0].carry


def test_a_waiting_member_that_is_deaf_is_not_in_line() -> None:
    deaf = decide(decide(TEAM).state, Probed(member=2, heard=False, epoch=1)).plan
    assert (deaf.receiver, deaf.takeover) == (1, (3,))


def test_where_nobody_hears_anything_hearing_says_nothing() -> None:
    state = decide(TEAM).state
    for epoch, id in enumerate((3, 2, 1), 1):  # noqa: A001
        state = decide(state, Probed(member=id, heard=False, epoch=epoch)).state
    assert state.plan is not None
    assert state.plan.receiver == 1
    assert set(state.plan.takeover) == {2, 3}
    one = decide(state, Probed(member=3, heard=True, epoch=4)).plan
    assert (one.receiver, one.takeover) == (3, ())


def test_a_snapshot_tells_who_hears() -> None:
    event = Resynced(epoch=5, links={1: True, 2: True}, health={}, heard={1: False, 2: True})
    plan = decide(decide(TEAM).state, event).plan
    assert (plan.receiver, plan.takeover) == (2, (3,))


@pytest.mark.parametrize("mode", MODES)
def test_an_encryption_only_member_gives_its_engine_in_every_mode(mode: str) -> None:
    members = (member(1, carry=False), *TEAM.members[1:])
    plan = decide(replace(TEAM, mode=mode, members=members)).plan  # type: ignore[arg-type]
    assert (grants(plan)[11].primary, grants(plan)[11].secondary) == (None, 0)
    assert 1 not in plan.carriers


@pytest.mark.parametrize("mode", ["active-backup", "balance-alb"])
def test_an_engine_of_another_team_s_member_has_that_member_s_headroom(mode: ModeName) -> None:
    state = replace(TEAM, mode=mode, headroom=0.2, engines=(*TEAM.engines, asic(12, 99)))
    (found,) = (grant for grant in decide(state).plan.grants if grant.engine == 12)
    assert (found.member, found.secondary) == (None, 0)
    assert (found.headroom, found.limit_ns) == (0.2, HEADROOM_NS)


def test_the_active_member_s_engine_has_a_headroom_and_no_other() -> None:
    state = replace(TEAM, headroom=0.2, engines=(*TEAM.engines, asic(12, 2)))
    found = grants(decide(state).plan)
    assert (found[11].headroom, found[12].headroom, found[20].headroom) == (0.2, None, None)
    balanced = grants(decide(replace(state, mode="balance-alb")).plan)
    assert {grant.headroom for grant in balanced.values()} == {None}


# what the Plan carries for the data plane


def test_probing_takes_two_members_or_a_neighbour_to_ask() -> None:
    probe = ProbeSpec(every_ns=10, miss=2, of=4, hold_ns=7)
    state = replace(TEAM, probe=probe)
    found = decide(state).plan.probe
    assert found is not None
    assert (found.every_ns, found.miss, found.of, found.hold_ns, found.asks) == (10, 2, 4, 7, ())
    alone = replace(state, members=TEAM.members[:1])
    assert decide(alone).plan.probe is None
    asks = tuple(Ask(member=n, address="192.0.2.1", frame=b"arp") for n in (1, 9))
    asked = decide(alone, AsksChanged(asks=asks)).plan.probe
    assert asked is not None
    assert asked.asks == asks[:1], "only members ask"
    assert decide(TEAM).plan.probe is None


def test_settings_reach_the_plan() -> None:
    changed = SettingsChanged(
        mode="balance-alb", down_delay_ns=5, verify_every=1, receive="balance", delivery="auto"
    )
    plan = decide(decide(TEAM).state, changed).plan
    assert (plan.down_delay_ns, plan.verify_every, plan.receive, plan.delivery) == (
        5, 1, "balance", "auto",
    )  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_direct_delivery_is_for_members_that_carry_and_can_send_a_foreign_address(
    mode: str,
) -> None:
    state = decide(replace(TEAM, mode=mode, delivery="direct")).state  # type: ignore[arg-type]
    assert state.plan is not None
    assert state.plan.direct == (), "nobody has tried it yet"
    for id, able in ((1, True), (2, True), (3, False)):  # noqa: A001
        state = decide(state, ForeignTried(member=id, able=able)).state
    assert state.plan is not None
    assert state.plan.direct == ((1,) if mode == "active-backup" else (1, 2))
    returned = decide(state, SettingsChanged(delivery="return")).plan
    assert returned.direct == ()


def test_an_operator_knows_better_than_a_probe_what_a_wire_takes() -> None:
    said = (True, False, None)
    members = tuple(
        replace(member, foreign_mac=able) for member, able in zip(TEAM.members, said, strict=True)
    )
    state = replace(TEAM, mode="balance-alb", delivery="direct", members=members)
    assert decide(state).plan.direct == (1,)
    for id, able in ((1, False), (2, True), (3, True)):  # noqa: A001
        state = decide(state, ForeignTried(member=id, able=able)).state
    assert decide(state).plan.direct == (1, 3)

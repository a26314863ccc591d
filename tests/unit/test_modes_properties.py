"""What holds in every mode, whatever happens: searched for, not chosen."""

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from esprit.model import Capabilities, EngineState, Load, MemberState, Rate, TeamState
from esprit.model.event import (
    ActiveChosen,
    EngineJoined,
    EngineLeft,
    EngineReported,
    Event,
    ForeignTried,
    LinkChanged,
    LoadMeasured,
    MemberJoined,
    MemberLeft,
    PortLost,
    Probed,
    Resynced,
    SendingFailed,
    SettingsChanged,
    Ticked,
    TookOver,
)
from esprit.model.plan import BUCKETS, Plan
from esprit.modes import MODES, decide
from esprit.modes.buckets import SLACK, quotas, spread

IDS = st.integers(1, 5)
ENGINE_IDS = st.integers(11, 16)
MODE = st.sampled_from(sorted(MODES))
SOFTWARE = st.sampled_from(["always", "overflow", "never"])
FAILBACK = st.sampled_from(["never", "better", "always"])
DELAY = st.sampled_from([0, 0, 5, 100])
HEALTH = st.sampled_from(["untested", "ok", "suspect", "hung", "quarantined", "failed"])

members = st.builds(
    MemberState,
    id=IDS,
    interface=st.just("eth"),
    link=st.sampled_from(["up", "up", "down", "gone"]),
    carry=st.sampled_from([True, True, False]),
    priority=st.integers(0, 3),
    weight=st.integers(1, 4),
    heard=st.sampled_from([True, True, False]),
    foreign=st.none() | st.booleans(),
    foreign_mac=st.none() | st.booleans(),
    speed=st.none() | st.sampled_from([1000, 10000]),
)
engines = st.builds(
    EngineState,
    id=ENGINE_IDS,
    name=st.just("engine"),
    kind=st.sampled_from(["asic", "asic", "cpu"]),
    member=st.none() | IDS,
    health=HEALTH,
    rates=st.lists(
        st.builds(
            Rate,
            algorithm=st.sampled_from(["aes-128-gcm-16", "aes-256-gcm-16"]),
            direction=st.sampled_from(["seal", "open"]),
            ns_per_packet=st.just(50.0),
            ns_per_byte=st.just(0.1),
        ),
        max_size=4,
    ).map(tuple),
    seal=st.booleans(),
    open=st.booleans(),
    capabilities=st.builds(
        Capabilities,
        lookaside=st.booleans(),
        inline=st.booleans(),
        primary=st.booleans(),
        secondary=st.booleans(),
    ),
)
teams = st.builds(
    TeamState,
    id=st.just(0),
    mode=MODE,
    software=SOFTWARE,
    failback=FAILBACK,
    failback_delay_ns=DELAY,
    up_delay_ns=DELAY,
    preferred=st.none() | st.just("eth"),
    delivery=st.sampled_from(["return", "direct", "auto"]),
    members=st.lists(members, max_size=5, unique_by=lambda m: m.id).map(tuple),
    engines=st.lists(engines, max_size=6, unique_by=lambda e: e.id).map(tuple),
    announcements=st.just((b"frame",)),
)


def check(state: TeamState, plan: Plan) -> None:
    """Every rule that a Plan keeps, whatever led to it."""
    known = {member.id: member for member in state.members}
    able = {member.id for member in state.members if member.can_carry}
    ready = {member.id for member in state.members if state.ready(member)}
    first = ready or able
    # Roles: nobody carries, accepts or takes over who cannot.
    assert {role.id for role in plan.members} == set(known)
    assert {role.id for role in plan.members if role.carry} == able
    assert {role.id for role in plan.members if role.accept} <= able
    assert set(plan.transmit) <= able
    assert set(plan.takeover) <= able
    assert len(set(plan.takeover)) == len(plan.takeover)
    # Somebody carries and one receives, exactly if anybody can.
    assert bool(plan.transmit) == bool(able) == (plan.receiver is not None)
    if plan.receiver is not None:
        assert plan.receiver in plan.carriers
        line = able if plan.mode == "active-backup" else first
        assert set(plan.takeover) | {plan.receiver} == line, "everybody who can is in line"
        assert {a.member for a in plan.announce} == able
    if plan.mode == "active-backup":
        assert len(plan.transmit) <= 1
        assert plan.transmit == ((plan.receiver,) if plan.receiver is not None else ())
        assert sum(role.accept for role in plan.members) <= 1
    else:
        assert len(plan.transmit) in (0, BUCKETS)
        assert plan.carriers == first, "who is held back carries only if nobody else can"
    if plan.receiver is not None:
        assert plan.receiver in first
    # Where all are held back, whoever receives goes on: another would be back no longer.
    if state.failback != "never" and not state.failback_delay_ns and plan.receiver in ready:
        assert known[plan.receiver].priority == max(known[m].priority for m in ready)
    # A member that hears nothing carries nothing, unless nobody hears anything.
    sound = [member for member in state.members if member.carry and member.link == "up"]
    if any(member.heard for member in sound):
        assert all(known[member].heard for member in able)
    else:
        assert able == {member.id for member in sound}
    assert set(plan.direct) <= plan.carriers
    assert all(known[member].sends_foreign for member in plan.direct)
    check_mask(state, plan)
    check_engines(state, plan)


def check_mask(state: TeamState, plan: Plan) -> None:
    """The mask says of each member what the grants and the tests say, and of no other."""
    assert plan.mask is not None
    able = {member.id for member in state.members if member.can_carry}
    pool = {engine.id: engine for engine in state.engines}
    for direction, lines in (("seal", plan.mask.seal), ("open", plan.mask.open)):
        assert len({line.algorithm for line in lines}) == len(lines)
        for line in lines:
            assert not set(line.own) & set(line.backed)
            assert set(line.own) | set(line.backed) <= able
            granted = [
                grant
                for grant in plan.grants
                if pool[grant.engine].does(line.algorithm, direction)
                and (grant.seal if direction == "seal" else grant.open)
            ]
            primary = {grant.member for grant in granted if grant.primary is not None}
            assert set(line.own) == primary & able
            if any(grant.secondary is not None for grant in granted):
                assert set(line.own) | set(line.backed) == able
            else:
                assert not line.backed


def check_engines(state: TeamState, plan: Plan) -> None:
    """Engines: none that is not verified; each only for what it is fit for."""
    pool = {engine.id: engine for engine in state.engines}
    assert len({grant.engine for grant in plan.grants}) == len(plan.grants)
    for grant in plan.grants:
        engine = pool[grant.engine]
        assert engine.verified
        assert (grant.seal, grant.open) == (engine.seal, engine.open)
        assert grant.primary is not None or grant.secondary is not None
        if grant.primary is not None:
            assert engine.capabilities.primary
            assert grant.member == engine.member
            member = state.member(grant.member or 0)
            assert member is not None
            assert member.can_carry
        if grant.secondary is not None:
            assert engine.capabilities.secondary
            assert engine.capabilities.lookaside
            assert not (engine.kind == "cpu" and state.software == "never")
    placed = [
        (engine.kind, where(engine, state, plan), grant.secondary)
        for grant in plan.grants
        for engine in (pool[grant.engine],)
        if grant.secondary is not None
    ]
    before_active = [t for kind, at, t in placed if kind == "asic" and at != "carries"]
    devices = [t for kind, _, t in placed if kind == "asic"]
    for kind, at, tier in placed:
        if kind == "asic" and at == "cannot carry":
            assert tier == 0, "engines whose members cannot carry are loaded first"
        if kind == "asic" and at == "carries" and plan.mode == "active-backup":
            assert all(other < tier for other in before_active)
        if kind == "cpu" and state.software == "overflow":
            assert all(other < tier for other in devices)
    # Nothing that could help is left out.
    for engine in state.engines:
        able = engine.verified and engine.capabilities.secondary and engine.capabilities.lookaside
        if able and engine.kind == "asic":
            assert engine.id in {g.engine for g in plan.grants if g.secondary is not None}


def where(engine: EngineState, state: TeamState, plan: Plan) -> str:
    member = state.member(engine.member) if engine.member is not None else None
    if engine.member is not None and member is None:
        return "elsewhere"
    if member is None or not member.can_carry:
        return "cannot carry"
    return "carries" if member.id in plan.carriers else "waits"


@given(teams)
def test_a_plan_keeps_every_rule(state: TeamState) -> None:
    decision = decide(state)
    check(decision.state, decision.plan)


@given(teams)
def test_the_same_state_makes_the_same_plan(state: TeamState) -> None:
    assert decide(state).plan == decide(state).plan
    assert decide(state).plan.to_native() == decide(state).plan.to_native()


@given(teams, st.data())
def test_a_member_that_fails_moves_only_its_own_flows(
    state: TeamState, data: st.DataObject
) -> None:
    state = decide(replace(state, mode="balance-alb", failback="never")).state
    before = state.plan
    assert before is not None
    if len(before.carriers) < 2:
        return
    if len({member.speed for member in state.members}) > 1:
        state = replace(state, members=tuple(replace(m, speed=None) for m in state.members))
        state = decide(replace(state, load=Load())).state
        before = state.plan
        assert before is not None
    lost = data.draw(st.sampled_from(sorted(before.carriers)))
    after = decide(state, LinkChanged(member=lost, up=False, epoch=1)).plan
    for old, new in zip(before.transmit, after.transmit, strict=True):
        assert new == old or old == lost
    inherited = {
        new for old, new in zip(before.transmit, after.transmit, strict=True) if old == lost
    }
    orphans = before.transmit.count(lost)
    survivors = before.carriers - {lost}
    if orphans >= 2 * len(survivors) and len({m.weight for m in state.members}) == 1:
        assert inherited == survivors, "its flows are spread"
    if before.receiver != lost and state.failback == "never":
        assert after.receiver == before.receiver


@given(st.dictionaries(IDS, st.integers(1, 1000), min_size=1))
def test_quotas_are_fair_and_whole(weights: dict[int, int]) -> None:
    due = quotas(weights)
    total = sum(weights.values())
    assert sum(due.values()) == BUCKETS
    for member, weight in weights.items():
        assert abs(due[member] - BUCKETS * weight / total) < 1


@given(
    st.lists(st.dictionaries(IDS, st.integers(1, 4), min_size=1), min_size=1, max_size=6),
)
def test_shares_stay_fair_over_any_history(history: list[dict[int, int]]) -> None:
    table: tuple[int, ...] = ()
    for weights in history:
        before = table
        table = spread(before, weights, heirs=sorted(weights))
        assert set(table) <= set(weights)
        kept = [new == old for old, new in zip(before, table, strict=False) if old in weights]
        due = quotas(weights)
        if (
            before
            and not set(before) - set(weights)
            and all(abs(before.count(m) - due[m]) <= SLACK and before.count(m) for m in weights)
        ):
            assert all(kept), "nothing moves that is fair already"
    settled = spread(table, history[-1])
    due = quotas(history[-1])
    assert all(abs(settled.count(m) - due[m]) <= SLACK for m in history[-1])


@given(st.lists(IDS, min_size=BUCKETS, max_size=BUCKETS), IDS, st.lists(IDS, unique=True))
def test_a_failure_never_moves_the_flows_of_the_living(
    before: list[int], lost: int, heirs: list[int]
) -> None:
    weights = dict.fromkeys(set(before) - {lost}, 1)
    if lost not in before or not weights:
        return
    for old, new in zip(before, spread(before, weights, heirs), strict=True):
        assert new in weights
        assert new == old or old == lost


class Team(RuleBasedStateMachine):
    """A team through any sequence of events; the Plans obey, step by step.

    The worker is modelled beside it as far as it can contradict: which links are up, which
    members it has latched at which epoch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.state = TeamState(id=0)
        self.epoch = 0
        self.latched: dict[int, int] = {}
        self.up: dict[int, bool] = {}
        self.published = 0
        self.time = 0
        self.deadline: int | None = None

    @initialize(state=teams)
    def begin(self, state: TeamState) -> None:
        self.state = state
        self.up = {member.id: member.link == "up" for member in state.members}
        self.happens(None)

    def happens(self, event: Event | None) -> None:
        if event is not None:
            event = replace(event, time=self.time)
        decision = decide(self.state, event)
        self.deadline = decision.deadline
        assert self.deadline is None or self.deadline > self.state.now
        assert decision.plan.epoch == self.published + 1
        self.published = decision.plan.epoch
        self.state = decision.state
        check(self.state, decision.plan)
        for member, epoch in list(self.latched.items()):
            if epoch <= decision.plan.latch:
                del self.latched[member]

    @rule(member=IDS, up=st.booleans())
    def link(self, member: int, up: bool) -> None:
        self.epoch += 1
        self.up[member] = up
        if not up:
            self.latched[member] = self.epoch
        self.happens(LinkChanged(member=member, up=up, epoch=self.epoch))

    @rule(member=IDS, heard=st.booleans())
    def probe(self, member: int, heard: bool) -> None:
        self.epoch += 1
        if not heard:
            self.latched[member] = self.epoch
        self.happens(Probed(member=member, heard=heard, epoch=self.epoch))

    @rule(member=IDS)
    def sending_fails(self, member: int) -> None:
        self.epoch += 1
        self.latched[member] = self.epoch
        self.happens(SendingFailed(member=member, count=9, epoch=self.epoch))
        known = self.state.member(member)
        if known is not None and known.can_carry:
            assert not self.state.ready(known), "it is tried again only after a while"

    @rule(wait=st.integers(1, 200))
    def time_passes(self, wait: int) -> None:
        """Up to the deadline nothing changes by itself; at the deadline the team is woken."""
        self.time += wait
        if self.deadline is not None and self.deadline <= self.time:
            self.time = self.deadline
            self.happens(Ticked())
        else:
            before = self.state.plan
            self.happens(Ticked())
            assert self.state.plan is not None
            assert self.state.plan.same_as(before), "time alone changes nothing before that"

    @rule(load=st.lists(st.integers(0, 1 << 20), min_size=BUCKETS, max_size=BUCKETS), queued=IDS)
    def load_is_measured(self, load: list[int], queued: int) -> None:
        before = self.state
        self.happens(
            LoadMeasured(
                shares=tuple(load),
                speeds={m.id: m.speed for m in before.members},
                queued=frozenset({queued}),
            )
        )
        assert before.plan is not None
        assert self.state.plan is not None
        assert self.state.plan.carriers == before.plan.carriers or len(load) < len(
            before.plan.carriers
        )

    @rule(member=IDS, able=st.none() | st.booleans())
    def a_foreign_address_is_tried(self, member: int, able: bool | None) -> None:
        self.happens(ForeignTried(member=member, able=able))

    @rule(lost=IDS, heir=st.none() | IDS)
    def takeover(self, lost: int, heir: int | None) -> None:
        self.epoch += 1
        self.up[lost] = False
        self.latched[lost] = self.epoch
        self.happens(TookOver(team=0, lost=lost, heir=heir, epoch=self.epoch))

    @rule(member=IDS)
    def port_lost(self, member: int) -> None:
        self.epoch += 1
        self.up[member] = False
        self.latched[member] = self.epoch
        self.happens(PortLost(member=member, epoch=self.epoch))

    @rule(member=IDS, up=st.booleans())
    def events_are_lost_and_a_snapshot_is_read(self, member: int, up: bool) -> None:
        self.epoch += 3
        self.up[member] = up
        self.happens(Resynced(epoch=self.epoch, links=dict(self.up), health={11: "hung"}))

    @rule(member=members)
    def member_joins(self, member: MemberState) -> None:
        self.up[member.id] = member.link == "up"
        self.latched.pop(member.id, None)
        self.happens(MemberJoined(member=member))

    @rule(member=IDS)
    def member_leaves(self, member: int) -> None:
        self.happens(MemberLeft(member=member))
        assert self.state.member(member) is None
        assert all(engine.member != member for engine in self.state.engines)

    @rule(engine=engines)
    def engine_joins(self, engine: EngineState) -> None:
        self.happens(EngineJoined(engine=engine))

    @rule(engine=ENGINE_IDS)
    def engine_leaves(self, engine: int) -> None:
        self.happens(EngineLeft(engine=engine))

    @rule(
        engine=ENGINE_IDS,
        what=st.sampled_from(
            ["hung", "failed", "recovered", "late", "wrong", "quarantined", "refused"]
        ),
    )
    def engine_reports(self, engine: int, what: str) -> None:
        before = self.state.engine(engine)
        self.happens(EngineReported(engine=engine, what=what))
        after = self.state.engine(engine)
        if before is not None and after is not None:
            assert before.verified or not after.verified, "no report makes an engine good"

    @rule(
        mode=st.none() | MODE,
        software=st.none() | SOFTWARE,
        failback=st.none() | FAILBACK,
        delay=st.none() | DELAY,
    )
    def settings(self, mode: object, software: object, failback: object, delay: object) -> None:
        self.happens(
            SettingsChanged(mode=mode, software=software, failback=failback, up_delay_ns=delay)  # type: ignore[arg-type]
        )

    @rule(member=IDS)
    def operator_chooses(self, member: int) -> None:
        self.happens(ActiveChosen(member=member))

    @precondition(lambda self: self.epoch > 2)
    @rule(member=IDS, up=st.booleans(), back=st.integers(1, 2))
    def an_old_event_comes_late(self, member: int, up: bool, back: int) -> None:
        before = self.state
        late = before.link_epoch - back
        self.happens(LinkChanged(member=member, up=up, epoch=late))
        assert replace(self.state, plan=before.plan) == before
        self.happens(TookOver(team=0, lost=member, heir=None, epoch=late))
        assert replace(self.state, plan=before.plan) == before

    @invariant()
    def the_worker_finds_nobody_dead_in_the_plan(self) -> None:
        plan = self.state.plan
        if plan is not None:
            assert all(self.up.get(member) for member in plan.carriers)
            assert plan.latch <= self.epoch

    @invariant()
    def no_latch_outlives_a_plan_that_has_seen_it(self) -> None:
        assert all(epoch > self.state.link_epoch for epoch in self.latched.values())


TestTeam = Team.TestCase
TestTeam.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_a_plan_s_shares_are_members_and_nothing_else() -> None:
    def flat(tables: Iterable[tuple[int, ...]]) -> set[int]:
        return {member for table in tables for member in table}

    assert flat([spread((), {1: 1}), spread((1,) * BUCKETS, {2: 1})]) == {1, 2}
    assert spread((1,) * BUCKETS, {}) == ()

"""A running team: what is known of it becomes a Plan, and the Plan is put in force.

Every change, whether an operator asks for it or the data plane reports it, goes the same
way: it becomes an event, the mode decides, and the new Plan is published. Removal is the
same with the object left out first: the data plane has acknowledged a Plan without it
before it is taken apart.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from esprit import config
from esprit.control import bringup
from esprit.control import members as membership
from esprit.control.apply import Transaction
from esprit.control.explain import Explaining, flow
from esprit.control.host import Host, RunningEngine
from esprit.control.members import RunningMember
from esprit.control.narrate import narrate
from esprit.control.securing import Securing
from esprit.control.swap import Swaps
from esprit.control.upkeep import Upkeep
from esprit.control.view import View
from esprit.errors import (
    BadRequest,
    Conflict,
    EngineRefused,
    NotFound,
    NoVerifiedEngine,
)
from esprit.model import EngineSpec, MemberSpec, Policy, TeamConfig, TeamState
from esprit.model.event import (
    Event,
    MemberJoined,
    MemberLeft,
    SettingsChanged,
)
from esprit.model.words import ModeName
from esprit.modes import MODES, decide, observe
from esprit.modes.base import Decision

if TYPE_CHECKING:
    from esprit._native import FaultName, Plan
    from esprit.daemon.resources import (
        DropResource,
        EventResource,
        ExplanationResource,
        Scalar,
    )

Table = Mapping[str, object]


class RunningTeam:
    """One team with its members, engines, SAs and policies.

    Its methods are called one at a time: the service holds a lock around each.
    """

    def __init__(
        self, host: Host, wanted: TeamConfig, emit: "Callable[[EventResource], None]"
    ) -> None:
        self.host = host
        self.spec = wanted.team
        self.id = host.new_id()
        self.index = 0
        self.mac = ""
        self.mtu = 0
        self.offloads: tuple[str, ...] = ()
        self.members: dict[str, RunningMember] = {}
        self.securing = Securing(host, self.id)
        self.wanted = wanted
        self._emit = emit
        self._told_protected = True
        self.upkeep = Upkeep(self)
        self.swaps = Swaps(self)
        self.securing.next_hop_of = self.upkeep.next_hop
        self.state = TeamState.begin(self.id, self.spec)
        #: When time alone will change the Plan.
        self.deadline: int | None = None

    @property
    def name(self) -> str:
        """The virtual NIC."""
        return self.spec.name

    @property
    def plan(self) -> "Plan | None":
        """The Plan in force, as the data plane has it."""
        return None if self.state.plan is None else self.state.plan.to_native()

    def view(self) -> View:
        """Everything there is to show, as of now."""
        return View(self, self.host.plane.snapshot())

    def explain(self, query: Mapping[str, str]) -> "ExplanationResource":
        """What would become of a packet, and why.

        Raises:
            BadRequest: the query describes no packet.
        """
        return Explaining(self).flow(flow(query))

    def last_drop(self) -> "DropResource":
        """The last packet that was dropped.

        Raises:
            NotFound: none was.
        """
        return Explaining(self).last_drop()

    async def start(self, *, force: bool) -> None:
        """Come up, wholly or not at all.

        Raises:
            EspritError: why not; what was set has been put back.
        """
        await bringup.start(self, force=force)

    async def stop(self) -> list[str]:
        """End, and put everything back; returns what could not be."""
        return await bringup.stop(self)

    # members

    async def take(self, transaction: Transaction, spec: MemberSpec) -> None:
        """Take an interface and its engine in; the next Plan names them."""
        host = self.host
        number = self.securing.member_ids.setdefault(spec.interface, host.new_id())
        host.taken[spec.interface] = self.name
        transaction.on_failure(
            f"interface {spec.interface}", lambda: host.give_back(spec.interface)
        )
        member = await membership.take(host, transaction, self.id, spec, number)
        self.members[spec.interface] = member
        transaction.on_failure(
            f"member {spec.interface}", lambda: _drop(self.members, spec.interface)
        )
        if spec.engine is not None:
            await self.admit(transaction, spec.engine, number)
        self.know(MemberJoined(member=member.state()))
        if member.rcvbuf < membership.ENOUGH_RCVBUF:
            self.say("member-small-buffer", member=spec.interface, bytes=member.rcvbuf)

    async def admit(self, transaction: Transaction, spec: EngineSpec, member: int | None) -> None:
        """Test an engine and admit it to the pool."""
        engine = await self.host.add_engine(spec, team=self.name, member=member)
        self._tell_tests(engine)
        transaction.on_failure(f"engine {spec.name}", lambda: self.host.remove_engine(spec.name))

    async def add_member(self, table: Table, *, force: bool) -> None:
        """Add a member to the running team, as a ``[[member]]`` describes it."""
        spec = config.member(table)
        await membership.check(self.host, self.spec, spec.interface, force=force)
        before = self.state
        try:
            async with Transaction(self.host.netlink, self.host.journal, self.name) as transaction:
                await self.take(transaction, spec)
                await self.upkeep.size()
                self.put_in_force(decide(self.state))
        except BaseException:
            self.state = replace(before, plan=self.state.plan)
            self.put_in_force(decide(self.state))
            raise
        self.upkeep.members_changed()
        self.say("member-added", member=spec.interface)

    async def remove_member(self, interface: str) -> None:
        """Take a member out of the running team and give its interface back."""
        if self.swaps.forget(interface):
            return
        await self.detach(self.member(interface))
        self.say("member-removed", member=interface)

    async def detach(self, member: RunningMember, *, gone: bool = False) -> None:
        """Take a member apart, once a Plan without it is in force; what it holds is drained.

        Args:
            member: The member.
            gone: Its interface is no more; what may bear its name now is left alone.
        """
        interface = member.spec.interface
        self.apply(MemberLeft(member=member.id))
        # From here on nothing uses it: the worker has acknowledged a Plan without it.
        self.host.plane.member_remove(member.id)
        own = self.host.engine_of(member.id)
        if own is not None:
            self.host.remove_engine(own.spec.name)
            self.upkeep.retests.forget(own.spec.name)
        del self.members[interface]
        self.host.give_back(interface)
        self.upkeep.members_changed()
        await self.upkeep.size()
        put_back = membership.let_go if gone else membership.give_back
        await put_back(self.host, self.name, interface)

    async def replace_member(self, old: str, table: Table, *, force: bool) -> None:
        """Put a member in the place of another: the new one in first, then the old one out."""
        await self.swaps.replace(old, table, force=force)

    def member(self, interface: str) -> RunningMember:
        """The member on that interface.

        Raises:
            NotFound: there is none.
        """
        try:
            return self.members[interface]
        except KeyError:
            raise NotFound(f"member {interface}") from None

    # the mode and engines

    async def set_mode(self, mode: str) -> None:
        """Change the mode of the running team."""
        known: dict[str, ModeName] = {name: name for name in MODES}
        if mode not in known:
            raise BadRequest(f"mode {mode}", "is unknown", remedy=f"one of {', '.join(MODES)}")
        self.apply(SettingsChanged(mode=known[mode]))
        self.say("mode", mode=mode)

    async def change(self, table: Table) -> None:
        """Change settings of the running team, as ``[team]`` and ``[probe]`` have them."""
        changed = config.settings(table)
        if changed.preferred and changed.preferred not in self.members:
            raise NotFound(f"member {changed.preferred}")
        targets = None if changed.probe is None else changed.probe.targets
        self.apply(changed)
        if targets is not None:
            self.upkeep.members_changed()
        self.say("settings", **{key: str(value) for key, value in table.items()})

    async def add_engine(self, table: Table, *, member: str | None = None) -> RunningEngine:
        """Add an engine, as an ``[[engine]]`` describes it, or a member's own one."""
        spec = config.engine(table, member=member)
        number = None if member is None else self._without_engine(member)
        engine = await self.host.add_engine(spec, team=self.name, member=number)
        self.say("engine-added", engine=spec.name, member=member)
        self._tell_tests(engine)
        return engine

    def _without_engine(self, interface: str) -> int:
        """The number of a member that may be given an engine of its own.

        Raises:
            NotFound: there is no such member.
            Conflict: it has one.
        """
        number = self.member(interface).id
        own = self.host.engine_of(number)
        if own is not None:
            raise Conflict(
                f"member {interface}",
                f"has engine {own.spec.name} already",
                remedy=f"remove it first: esprit engine remove {own.spec.name}",
            )
        return number

    async def remove_engine(self, name: str) -> None:
        """Take an engine out of the pool; its jobs are done again elsewhere."""
        self.host.remove_engine(name)
        self.upkeep.retests.forget(name)
        self.say("engine-removed", engine=name)

    async def reset_engine(self, name: str) -> RunningEngine:
        """Reset an engine, test it again and admit it again."""
        engine = await self._retested(name, self.host.reset_engine)
        self.say("engine-reset", engine=name)
        self._tell_tests(engine)
        return engine

    async def verify_engine(self, name: str) -> RunningEngine:
        """Test an engine as it is, and admit it again if it passes."""
        engine = await self._retested(name, self.host.verify_engine)
        self.say("engine-verified", engine=name)
        self._tell_tests(engine)
        return engine

    async def _retested(
        self, name: str, test: Callable[[str], Awaitable[RunningEngine]]
    ) -> RunningEngine:
        """Test an engine; one that is refused is tested again later, however this one came."""
        retests = self.upkeep.retests
        try:
            engine = await test(name)
        except EngineRefused as error:
            at = retests.plan(name, time.monotonic_ns(), patient=True)
            self.say("engine-refused", engine=name, evidence=error.message, retest=at)
            raise
        retests.cancel(name)
        return engine

    def _tell_tests(self, engine: RunningEngine) -> None:
        """Tell what an engine may not do because its test failed, though others passed."""
        for test in engine.state().tests:
            if not test.passed:
                self.say(
                    "engine-test-failed",
                    engine=engine.spec.name,
                    algorithm=test.algorithm,
                    direction=test.direction,
                    evidence=test.evidence,
                )

    async def fault_engine(self, name: str, fault: str, value: int) -> None:
        """Inject a fault into a simulated engine."""
        engine = self.host.engine(name)
        faults: dict[str, FaultName] = {
            "die": "die", "hang": "hang", "wrong": "wrong", "late": "late", "sag": "sag",
            "stick": "stick", "coalesce": "coalesce", "heal": "heal",
        }  # fmt: skip
        if fault not in faults:
            raise BadRequest(f"fault {fault}", "is unknown", remedy=f"one of {', '.join(faults)}")
        if not engine.spec.simulated:
            raise BadRequest(
                f"engine {name}", "is not simulated", remedy="only simulated engines take faults"
            )
        self.host.plane.engine_fault(engine.id, faults[fault], value)
        self.say("engine-fault", engine=name, fault=fault)

    # SAs and policies

    async def add_sa(self, table: Table) -> None:
        """Add an SA, as an ``[[sa]]`` describes it."""
        running = await self.securing.add_sa(config.sa(table))
        await self.upkeep.sas_changed()
        self.say("sa-added", sa=running.sa.name, dir=running.sa.direction)

    async def replace_sa(self, name: str, table: Table) -> None:
        """Put another SA in the place of one, make before break."""
        sa = config.sa({"name": name, **table})
        running, stays = await self.securing.replace_sa(name, sa)
        self.upkeep.resolve(running.sa.dst)
        await self.upkeep.sas_changed()
        more: dict[str, Scalar] = {} if stays is None else {"old": stays}
        self.say("sa-replaced", sa=running.sa.name, dir=running.sa.direction, **more)

    async def delete_sa(self, name: str) -> None:
        """Delete an SA."""
        running = await self.securing.delete_sa(name)
        await self.upkeep.sas_changed()
        self.say("sa-deleted", sa=name, dir=running.sa.direction)

    async def add_policy(self, table: Table, *, before: str | None) -> None:
        """Add a policy, as a ``[[policy]]`` describes it."""
        policy = config.policy(table)
        self._demand_protection(policy)
        self.securing.add_policy(policy, before=before)
        self.say("policy-added", policy=policy.name)

    async def replace_policy(self, name: str, table: Table) -> None:
        """Put another policy in the place of one, between two packets."""
        policy = config.policy({"name": name, **table})
        self._demand_protection(policy)
        self.securing.replace_policy(name, policy)
        self.say("policy-replaced", policy=policy.name)

    async def delete_policy(self, name: str) -> None:
        """Delete a policy."""
        self.securing.delete_policy(name)
        self.say("policy-deleted", policy=name)

    def _demand_protection(self, policy: Policy) -> None:
        """Refuse a policy that demands what no verified engine can give."""
        plan = self.state.plan
        if policy.action != "protect" or plan is None:
            return
        if not plan.protects_any:
            raise NoVerifiedEngine(f"policy {policy.name}")

    # deciding

    def close_doors(self) -> None:
        """Put a Plan in force that names nobody, so that everything may be taken apart."""
        self.put_in_force(decide(replace(self.state, members=(), engines=(), active=None)))

    def pool_changed(self, event: Event) -> None:
        """Take in that an engine joined or left the pool."""
        if self.state.plan is None:
            self.know(event)
        else:
            self.apply(event)

    def know(self, event: Event) -> None:
        """Take an event in without a Plan yet; the next one includes it."""
        self.state = observe(self.state, _timed(event))

    def apply(self, event: Event) -> None:
        """Take an event in, and put the Plan that follows in force."""
        self.put_in_force(decide(self.state, _timed(event)))

    def put_in_force(self, decision: Decision) -> None:
        """Publish a Plan, if it says anything new, and tell what changed by it."""
        self.deadline = decision.deadline
        if not decision.to_publish:
            self.state = replace(decision.state, plan=self.state.plan)
            return
        self.host.plane.publish(decision.plan.to_native())
        self.state = decision.state
        self.host.published(decision.plan)
        names = self.member_names()
        self.say(
            "plan",
            epoch=decision.plan.epoch,
            mode=decision.plan.mode,
            active=" ".join(names.get(number, "") for number in sorted(decision.plan.carriers)),
            receiver=names.get(decision.plan.receiver or 0),
        )
        for notice in decision.notices:
            if notice.what == "ipsec":
                self.say("ipsec-offered" if notice.after else "ipsec-withdrawn")
            elif notice.what != "active":
                self.say(notice.what, on=bool(notice.after))
        protected = not self.securing.protects or decision.plan.protects_any
        if protected != self._told_protected:
            self._told_protected = protected
            self.say("protection", on=protected)

    # telling

    def member_names(self) -> dict[int, str]:
        """Members' interfaces by number."""
        return {member.id: name for name, member in self.members.items()}

    def say(self, kind: str, **values: "Scalar") -> None:
        """Tell those who listen."""
        self._emit({"time": time.monotonic_ns(), "kind": kind, "team": self.name, **values})

    def narrate(self, event: Event) -> None:
        """Tell those who listen of an event of the data plane, if it is about this team."""
        engines = {engine.id: engine.spec.name for engine in self.host.engines()}
        told = narrate(event, self.id, self.member_names(), engines, self.securing.sa_names())
        if told is not None:
            self._emit({"time": event.time, "kind": event.kind, "team": self.name, **told})


def _timed(event: Event) -> Event:
    """An event of ours, with the time that it has not yet."""
    return event if event.time else replace(event, time=time.monotonic_ns())


def _drop(members: dict[str, RunningMember], interface: str) -> None:
    members.pop(interface, None)

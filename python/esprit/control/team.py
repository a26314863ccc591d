"""A running team: what is known of it becomes a Plan, and the Plan is put in force.

Every change, whether an operator asks for it or the data plane reports it, goes the same
way: it becomes an event, the mode decides, and the new Plan is published. Removal is the
same with the object left out first: the data plane has acknowledged a Plan without it
before it is taken apart.
"""

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from esprit import config
from esprit.control import members as membership
from esprit.control import netfilter
from esprit.control.announce import announcements
from esprit.control.apply import Transaction, put_back
from esprit.control.host import Host, RunningEngine
from esprit.control.members import RunningMember
from esprit.control.mtu import super_frame_limit, team_mtu
from esprit.control.narrate import narrate
from esprit.control.neighbours import NextHops
from esprit.control.netlink import IpAddress
from esprit.control.securing import Securing
from esprit.control.steps import OwnAddress, OwnRoute, Tap, Up
from esprit.control.view import View
from esprit.control.watch import Change, ChangeKind
from esprit.errors import (
    AlreadyRunning,
    BadRequest,
    Conflict,
    NotFound,
    NoVerifiedEngine,
    RollbackFailed,
)
from esprit.model import EngineSpec, MemberSpec, TeamConfig, TeamState
from esprit.model.event import (
    AnnouncementsChanged,
    EngineJoined,
    Event,
    EventsLost,
    MemberJoined,
    MemberLeft,
    NumbersWanted,
    Resynced,
    SettingsChanged,
)
from esprit.model.words import Health, ModeName
from esprit.modes import MODES, decide
from esprit.modes.base import Decision

if TYPE_CHECKING:
    from esprit._native import FaultName, Plan
    from esprit.daemon.resources import EventResource, Scalar

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
        self.next_hops: NextHops | None = None
        self._wanted = wanted
        self._emit = emit
        self._told_protected = True
        self.state = TeamState(
            id=self.id,
            name=self.spec.name,
            mode=self.spec.mode,
            software=self.spec.software,
            failback=self.spec.failback,
            delivery=self.spec.delivery,
            source_mac=self.spec.source_mac,
        )

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

    # start and end

    async def check(self, *, force: bool) -> None:
        """Ask whether everything could be had; nothing is changed.

        Raises:
            EspritError: the first thing that is in the way.
        """
        if not self._adopted and await self.host.netlink.link(self.name) is not None:
            raise AlreadyRunning(
                self.name,
                "there is an interface of that name, and it is not ours",
                remedy="give the team another name, or remove that interface",
            )
        if self.name in self.host.taken:
            raise Conflict(self.name, "is in use twice", remedy="give the team another name")
        for member in self._wanted.members:
            await membership.check(self.host, self.name, member.interface, force=force)

    @property
    def _adopted(self) -> bool:
        return Tap(interface=self.name) in self.host.journal.teams.get(self.name, [])

    async def start(self, *, force: bool) -> None:
        """Make the team and put its first Plan in force: wholly, or not at all.

        Raises:
            EspritError: why not; what was set has been put back.
        """
        host = self.host
        await self._put_back_leftovers()
        await self.check(force=force)
        async with Transaction(host.netlink, host.journal, self.name) as transaction:
            await self._make_interface(transaction)
            # The pool is the host's: engines of other teams work for this one, too.
            for other in host.engines():
                self._know(EngineJoined(engine=other.state()))
            host.watchers.append(self._pool_changed)
            transaction.on_failure("pool", lambda: host.watchers.remove(self._pool_changed))
            for member in self._wanted.members:
                await self._take(transaction, member)
            for engine in self._wanted.engines:
                await self._admit(transaction, engine, None)
            # Policies before SAs, and both before the interface goes up.
            transaction.on_failure("SAs", self.securing.delete_all)
            self.securing.set_policies(self._wanted.policies)
            for sa in self._wanted.sas:
                await self.securing.add_sa(sa)
            self._demand_protection()
            await self._size()
            self._put_in_force(decide(self.state))
            await transaction.do(Up(interface=self.name))
            for address in self.spec.addresses:
                await transaction.do(OwnAddress(interface=self.name, address=str(address)))
            for route in self.spec.routes:
                await transaction.do(
                    OwnRoute(
                        interface=self.name,
                        destination=str(route.to),
                        gateway=None if route.via is None else str(route.via),
                        source=None if route.src is None else str(route.src),
                    )
                )
        self.next_hops = NextHops(host.netlink, self.index, self._tell_next_hop)
        await self._watch_peers()
        await self._announce()
        self._say("team-up", mode=self.state.mode, members=" ".join(self.members))

    async def stop(self) -> list[str]:
        """End the team and put everything back; returns what could not be.

        The interface goes down first, so that nothing new is sealed; then every SA's mark is
        settled at what it used.
        """
        host = self.host
        failed: list[str] = []
        try:
            await host.netlink.set_up(self.index, up=False)
        except OSError as error:
            failed.append(f"{self.name}: {error.strerror}")
        await self.note_numbers(final=True)
        for undo in (self.securing.delete_all, self._remove_from_plane):
            try:
                await undo()
            except Exception as error:  # whatever it is, the rest is still put back
                failed.append(str(error) or type(error).__name__)
        failed += await put_back(host.netlink, host.journal, self.name)
        for interface in (self.name, *self.members):
            host.taken.pop(interface, None)
        self._say("team-down")
        return failed

    async def _remove_from_plane(self) -> None:
        self.host.watchers.remove(self._pool_changed)
        self.host.plane.team_remove(self.id, destroy=True)
        for engine in self.host.engines():
            if engine.team == self.name:
                self.host.remove_engine(engine.spec.name)

    async def _put_back_leftovers(self) -> None:
        """Put back what a killed process set on interfaces that this team no longer wants."""
        wanted = {self.name, *(member.interface for member in self._wanted.members)}
        failed = await put_back(
            self.host.netlink,
            self.host.journal,
            self.name,
            keep=lambda step: getattr(step, "interface", None) in wanted,
        )
        if failed:
            raise RollbackFailed(self.name, f"left by an earlier process: {'; '.join(failed)}")

    async def _make_interface(self, transaction: Transaction) -> None:
        host = self.host
        links = [await host.netlink.link(one.interface) for one in self._wanted.members]
        mtus = [link.mtu for link in links if link is not None]
        self.mtu = self.spec.mtu or team_mtu(mtus, self._wanted.sas)
        adopt = self._adopted
        before = await host.netlink.link(self.name) if adopt else None
        self.mac = self.spec.mac or (before.mac if before is not None else "")
        if not self.mac:
            self.mac = own_mac(self.name, [link.mac for link in links if link is not None])
        await transaction.do(Tap(interface=self.name))
        made = host.plane.team_add(
            self.spec.to_native(id=self.id, mac=self.mac, mtu=self.mtu, adopt=before is not None)
        )
        transaction.on_failure(
            self.name, lambda: host.plane.team_remove(self.id, destroy=not adopt)
        )
        host.taken[self.name] = self.name
        transaction.on_failure(self.name, lambda: _forget(host, self.name))
        self.index = made["ifindex"]
        self.offloads = tuple(made["offloads"])

    def _demand_protection(self) -> None:
        """Refuse to look IPsec-capable where policy demands it and no engine can give it."""
        plan = decide(self.state).plan
        if self.securing.protects and not any(plan.protects(role.id) for role in plan.members):
            raise NoVerifiedEngine(self.name)

    # members

    async def _take(self, transaction: Transaction, spec: MemberSpec) -> None:
        host = self.host
        number = self.securing.member_ids.setdefault(spec.interface, host.new_id())
        host.taken[spec.interface] = self.name
        transaction.on_failure(f"interface {spec.interface}", lambda: _forget(host, spec.interface))
        member = await membership.take(host, transaction, self.id, spec, number)
        self.members[spec.interface] = member
        transaction.on_failure(
            f"member {spec.interface}", lambda: _drop(self.members, spec.interface)
        )
        if spec.engine is not None:
            member.engine = await self._admit(transaction, spec.engine, number)
        self._know(MemberJoined(member=member.state()))

    async def _admit(self, transaction: Transaction, spec: EngineSpec, member: int | None) -> str:
        await self.host.add_engine(spec, team=self.name, member=member)
        transaction.on_failure(f"engine {spec.name}", lambda: self.host.remove_engine(spec.name))
        return spec.name

    async def add_member(self, table: Table, *, force: bool) -> None:
        """Add a member to the running team, as a ``[[member]]`` describes it."""
        spec = config.member(table)
        await membership.check(self.host, self.name, spec.interface, force=force)
        before = self.state
        try:
            async with Transaction(self.host.netlink, self.host.journal, self.name) as transaction:
                await self._take(transaction, spec)
                await self._size()
                self._put_in_force(decide(self.state))
        except BaseException:
            self.state = replace(before, plan=self.state.plan)
            self._put_in_force(decide(self.state))
            raise
        self._say("member-added", member=spec.interface)

    async def remove_member(self, interface: str) -> None:
        """Take a member out of the running team and give its interface back."""
        member = self.member(interface)
        self._apply(MemberLeft(member=member.id))
        # From here on nothing uses it: the worker has acknowledged a Plan without it.
        self.host.plane.member_remove(member.id)
        if member.engine is not None:
            self.host.remove_engine(member.engine)
        del self.members[interface]
        self.host.taken.pop(interface, None)
        await self._size()
        await membership.give_back(self.host, self.name, interface)
        self._say("member-removed", member=interface)

    def member(self, interface: str) -> RunningMember:
        """The member on that interface.

        Raises:
            NotFound: there is none.
        """
        try:
            return self.members[interface]
        except KeyError:
            raise NotFound(f"member {interface}") from None

    async def _rejoin(self, member: RunningMember) -> None:
        """Rebuild the port of a member whose interface was deleted and is there again."""
        async with Transaction(self.host.netlink, self.host.journal, self.name) as transaction:
            opened = await membership.take(self.host, transaction, self.id, member.spec, member.id)
        opened.engine = member.engine
        self.members[member.spec.interface] = opened
        self._apply(MemberJoined(member=opened.state()))
        self._say("member-rejoined", member=member.spec.interface)

    # the mode and engines

    async def set_mode(self, mode: str) -> None:
        """Change the mode of the running team."""
        known: dict[str, ModeName] = {name: name for name in MODES}
        if mode not in known:
            raise BadRequest(f"mode {mode}", "is unknown", remedy=f"one of {', '.join(MODES)}")
        self._apply(SettingsChanged(mode=known[mode]))
        self._say("mode", mode=mode)

    async def add_engine(self, table: Table) -> RunningEngine:
        """Add an engine that belongs to no member, as an ``[[engine]]`` describes it."""
        spec = config.engine(table)
        engine = await self.host.add_engine(spec, team=self.name, member=None)
        self._say("engine-added", engine=spec.name)
        return engine

    async def remove_engine(self, name: str) -> None:
        """Take an engine out of the pool; its jobs are done again elsewhere."""
        self.host.remove_engine(name)
        for member in self.members.values():
            if member.engine == name:
                member.engine = None
        self._say("engine-removed", engine=name)

    async def reset_engine(self, name: str) -> RunningEngine:
        """Reset an engine, test it again and admit it again."""
        engine = await self.host.reset_engine(name)
        self._say("engine-reset", engine=name)
        return engine

    async def fault_engine(self, name: str, fault: str, value: int) -> None:
        """Inject a fault into a simulated engine."""
        engine = self.host.engine(name)
        faults: dict[str, FaultName] = {
            "die": "die", "hang": "hang", "wrong": "wrong", "late": "late", "heal": "heal"
        }  # fmt: skip
        if fault not in faults:
            raise BadRequest(f"fault {fault}", "is unknown", remedy=f"one of {', '.join(faults)}")
        if not engine.spec.simulated:
            raise BadRequest(
                f"engine {name}", "is not simulated", remedy="only simulated engines take faults"
            )
        self.host.plane.engine_fault(engine.id, faults[fault], value)
        self._say("engine-fault", engine=name, fault=fault)

    # SAs and policies

    async def add_sa(self, table: Table) -> None:
        """Add an SA, as an ``[[sa]]`` describes it."""
        running = await self.securing.add_sa(config.sa(table))
        await self._sas_changed()
        self._say("sa-added", sa=running.sa.name, dir=running.sa.direction)

    async def replace_sa(self, name: str, table: Table) -> None:
        """Put another SA in the place of one, make before break."""
        sa = config.sa({"name": name, **table})
        running, stays = await self.securing.replace_sa(name, sa)
        self._resolve(running.sa.dst)
        await self._sas_changed()
        more: dict[str, Scalar] = {} if stays is None else {"old": stays}
        self._say("sa-replaced", sa=running.sa.name, dir=running.sa.direction, **more)

    async def delete_sa(self, name: str) -> None:
        """Delete an SA."""
        running = await self.securing.delete_sa(name)
        await self._sas_changed()
        self._say("sa-deleted", sa=name, dir=running.sa.direction)

    async def add_policy(self, table: Table, *, before: str | None) -> None:
        """Add a policy, as a ``[[policy]]`` describes it."""
        policy = config.policy(table)
        self.securing.add_policy(policy, before=before)
        self._say("policy-added", policy=policy.name)

    async def replace_policy(self, name: str, table: Table) -> None:
        """Put another policy in the place of one, between two packets."""
        policy = config.policy({"name": name, **table})
        self.securing.replace_policy(name, policy)
        self._say("policy-replaced", policy=policy.name)

    async def delete_policy(self, name: str) -> None:
        """Delete a policy."""
        self.securing.delete_policy(name)
        self._say("policy-deleted", policy=name)

    async def _sas_changed(self) -> None:
        await self._size()
        await self._watch_peers()

    # what happens by itself

    async def happened(self, event: Event) -> None:
        """Take in an event of the data plane, and tell those who listen."""
        match event:
            case NumbersWanted():
                await self.securing.grant(event.sa, event.next)
                return
            case EventsLost():
                self._narrate(event)
                snapshot = self.host.plane.snapshot()
                event = Resynced(
                    time=event.time,
                    epoch=snapshot["link_epoch"],
                    links={number: one["up"] for number, one in snapshot["members"].items()},
                    health={n: _health(one["health"]) for n, one in snapshot["engines"].items()},
                )
            case _:
                self._narrate(event)
        self._apply(event)

    async def changed(self, changes: Iterable[Change]) -> None:
        """Take in what changed in the kernel's tables."""
        seen = tuple(changes)
        kinds = {change.kind for change in seen}
        resync = ChangeKind.RESYNC in kinds
        if resync or ChangeKind.LINK in kinds:
            await self._links_changed()
        own = [change for change in seen if change.index == self.index]
        if resync or any(change.kind is ChangeKind.ADDRESS for change in own):
            await self._announce()
        if self.next_hops is None:
            return
        if (
            resync
            or ChangeKind.ROUTE in kinds
            or any(change.kind in (ChangeKind.ADDRESS, ChangeKind.LINK) for change in own)
        ):
            await self.next_hops.refresh()
        elif any(
            change.kind is ChangeKind.NEIGHBOUR and self.next_hops.concerns(change.address)
            for change in own
        ):
            await self.next_hops.neighbours_changed()

    async def tick(self) -> None:
        """Do what wants doing from time to time."""
        await self.note_numbers()
        if self.next_hops is not None and self.next_hops.refresh_by_timer:
            await self.next_hops.refresh()

    async def note_numbers(self, *, final: bool = False) -> None:
        """Write down how far inbound SAs have come."""
        tops = {number: one["seq"] for number, one in self.host.plane.snapshot()["sas"].items()}
        await self.securing.note_tops(tops, final=final)

    async def _links_changed(self) -> None:
        links = {link.name: link for link in await self.host.netlink.links()}
        shut = netfilter.shut_interfaces(await netfilter.listing())
        for name, member in list(self.members.items()):
            link = links.get(name)
            if link is None:
                continue
            known = self.state.member(member.id)
            if link.index != member.index or (known is not None and known.link == "gone"):
                await self._rejoin(member)
                continue
            if name not in shut:
                # Somebody removed our table. Until now the host's stack could hear and speak
                # by this member; the team's own frames were not touched.
                await netfilter.shut(name)
                self._say("member-shut-again", member=name)
            member.mtu = link.mtu
        await self._size()

    async def _size(self) -> None:
        """Set the virtual NIC's MTU, and the largest super-frame that the stack may hand over."""
        mtus = [member.mtu for member in self.members.values()]
        sas = [running.sa for running in self.securing.sas]
        mtu = self.spec.mtu or team_mtu(mtus, sas)
        limit = super_frame_limit(min(mtus), sas) if mtus else None
        if limit is not None:
            with contextlib.suppress(OSError):  # an older kernel: they are then cut in two
                await self.host.netlink.set_gso_max_size(self.index, limit)
        if mtu != self.mtu:
            await self.host.netlink.set_mtu(self.index, mtu)
            self.mtu = mtu
            self._say("mtu", mtu=mtu)

    async def _announce(self) -> None:
        addresses = [
            address.interface.ip
            for address in await self.host.netlink.addresses(self.index)
            if address.usable
        ]
        self._apply(AnnouncementsChanged(frames=announcements(self.mac, addresses)))

    async def _watch_peers(self) -> None:
        if self.next_hops is None:
            return
        peers = self.securing.peers()
        for peer in peers:
            await self.next_hops.watch(peer)
            self._resolve(peer)
        await self.next_hops.forget_all_but(peers)

    def _resolve(self, peer: IpAddress) -> None:
        """Tell a peer's SAs the next hop that is known, for those that came later."""
        if self.next_hops is not None:
            self._tell_next_hop(peer, self.next_hops.mac_of(peer))

    def _tell_next_hop(self, peer: IpAddress, mac: str | None) -> None:
        for running in self.securing.outbound_to(peer):
            self.host.plane.sa_next_hop(running.id, mac)

    # deciding

    def _pool_changed(self, event: Event) -> None:
        """Take in that an engine joined or left the pool."""
        if self.state.plan is None:
            self._know(event)
        else:
            self._apply(event)

    def _know(self, event: Event) -> None:
        """Take an event in without a Plan yet; the next one includes it."""
        self.state = replace(decide(self.state, event).state, plan=self.state.plan)

    def _apply(self, event: Event) -> None:
        """Take an event in, and put the Plan that follows in force."""
        self._put_in_force(decide(self.state, event))

    def _put_in_force(self, decision: Decision) -> None:
        if not decision.to_publish:
            self.state = replace(decision.state, plan=self.state.plan)
            return
        self.host.plane.publish(decision.plan.to_native())
        self.state = decision.state
        names = self.member_names()
        self._say(
            "plan",
            epoch=decision.plan.epoch,
            mode=decision.plan.mode,
            active=" ".join(names.get(number, "") for number in sorted(decision.plan.carriers)),
            receiver=names.get(decision.plan.receiver or 0),
        )
        for notice in decision.notices:
            if notice.what != "active":
                self._say(notice.what, on=bool(notice.after))
        protected = not self.securing.protects or any(
            decision.plan.protects(role.id) for role in decision.plan.members
        )
        if protected != self._told_protected:
            self._told_protected = protected
            self._say("protection", on=protected)

    # telling

    def member_names(self) -> dict[int, str]:
        """Members' interfaces by number."""
        return {member.id: name for name, member in self.members.items()}

    def _say(self, kind: str, **values: "Scalar") -> None:
        self._emit({"time": time.monotonic_ns(), "kind": kind, "team": self.name, **values})

    def _narrate(self, event: Event) -> None:
        engines = {engine.id: engine.spec.name for engine in self.host.engines()}
        told = narrate(event, self.id, self.member_names(), engines, self.securing.sa_names())
        if told is not None:
            self._emit({"time": event.time, "kind": event.kind, "team": self.name, **told})


def own_mac(name: str, macs: Iterable[str]) -> str:
    """A team's own address: locally administered, the same at every start.

    It is made from the first member's, so that no two hosts have the same, but is not that
    address itself: a member sends its own traffic by its own address in balance-alb, and a
    switch must not hear that address on two ports.
    """
    first = next(iter(macs), "")
    digest = hashlib.sha256(f"esprit team {name} on {first}".encode()).digest()
    # Bit 1 of the first byte: locally administered. Bit 0: a group address, which it is not.
    octets = bytes([(digest[0] | 0x02) & 0xFE]) + digest[1:6]
    return octets.hex(":")


def _health(word: str) -> Health:
    """The pool's word for an engine, as modes have it: a quarantined one has failed."""
    words: dict[str, Health] = {"ok": "ok", "suspect": "suspect", "hung": "hung"}
    return words.get(word, "failed")


def _forget(host: Host, interface: str) -> None:
    host.taken.pop(interface, None)


def _drop(members: dict[str, RunningMember], interface: str) -> None:
    members.pop(interface, None)

"""What a running team does by itself: it follows links, addresses, neighbours, numbers, engines."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from esprit.control import netfilter
from esprit.control.announce import announcements
from esprit.control.asks import asks
from esprit.control.highwater import TOP_STEP
from esprit.control.measure import Measuring
from esprit.control.mtu import super_frame_limit, team_mtu
from esprit.control.neighbours import NextHops
from esprit.control.netlink import IpAddress
from esprit.control.watch import Change, ChangeKind
from esprit.errors import EngineRefused, NotFound
from esprit.model.event import (
    AnnouncementsChanged,
    AsksChanged,
    EngineReported,
    Event,
    EventsLost,
    NumbersWanted,
    Resynced,
    Ticked,
)
from esprit.verify import Retests

if TYPE_CHECKING:
    from esprit.control.team import RunningTeam

#: What the pool says against an engine; a late answer alone is none of it.
AGAINST = ("failed", "wrong", "hung", "quarantined")


class Upkeep:
    """Keeps one team in step with the data plane and the kernel."""

    def __init__(self, team: RunningTeam) -> None:
        self._team = team
        self.next_hops: NextHops | None = None
        self.retests = Retests()
        self._measuring = Measuring(team)
        self.gone = False

    async def begin(self) -> None:
        """Resolve the next hops and announce the addresses, once the virtual NIC is up."""
        team = self._team
        self.next_hops = NextHops(team.host.netlink, team.index, self._tell_next_hop)
        await self.watch_peers()
        await self.announce()

    async def sas_changed(self) -> None:
        """Follow the SAs that there are now: their overhead, their peers."""
        await self.size()
        await self.watch_peers()

    async def happened(self, event: Event) -> None:
        """Take in an event of the data plane, and tell those who listen."""
        match event:
            case NumbersWanted():
                await self._team.securing.grant(event.sa, event.next)
                return
            case EventsLost():
                self._team.narrate(event)
                snapshot = self._team.host.plane.snapshot()
                event = Resynced(
                    time=event.time,
                    epoch=snapshot["link_epoch"],
                    links={number: one["up"] for number, one in snapshot["members"].items()},
                    health={n: one["health"] for n, one in snapshot["engines"].items()},
                    heard={number: one["heard"] for number, one in snapshot["members"].items()},
                )
            case EngineReported():
                self._team.narrate(event)
                self._engine_reported(event)
            case _:
                self._team.narrate(event)
        self._team.apply(event)

    def _engine_reported(self, event: EngineReported) -> None:
        """Keep what is said against an engine of ours, and plan its next test."""
        known = None if event.engine is None else self._team.state.engine(event.engine)
        if known is None or not any(
            one.id == known.id and one.team == self._team.name for one in self._team.host.engines()
        ):
            return
        if event.what in AGAINST:
            self._team.host.evidence.note(known.name, event.what, event.time, dict(event.details))
        hung = known.health == "hung"
        if event.what == "recovered" and not hung:
            self._team.host.evidence.clear(known.name)
        self.retests.heard(known.name, event.what, time.monotonic_ns(), hung=hung)

    def next_due(self) -> int | None:
        """When something wants doing that no event will tell of, in monotonic nanoseconds."""
        due = (self._team.deadline, self.retests.next(), self._team.swaps.next())
        return min((at for at in due if at is not None), default=None)

    async def due(self) -> None:
        """Do what the time has come for."""
        now = time.monotonic_ns()
        if self._team.deadline is not None and self._team.deadline <= now:
            self._team.apply(Ticked(time=now))
        await self._team.swaps.due()
        for name in self.retests.take(now):
            await self._retest(name)

    async def _retest(self, name: str) -> None:
        """Test an engine again: one that computed wrongly as it is, one that hung after a reset."""
        team = self._team
        try:
            known = team.state.engine(team.host.engine(name).id)
            if known is not None and known.verified:
                return  # somebody else was faster
            with contextlib.suppress(EngineRefused):  # it stays out, and its next test is planned
                if known is not None and known.health == "hung":
                    await team.reset_engine(name)
                else:
                    await team.verify_engine(name)
        except NotFound:
            self.retests.forget(name)

    async def measure(self) -> None:
        """Take in what members had to do since the last time."""
        for event in self._measuring.look(self._team.host.plane.loads()):
            self._team.apply(event)

    @property
    def measures(self) -> bool:
        """Whether anything in the Plan follows from measurements."""
        state = self._team.state
        return state.mode == "balance-alb" or state.delivery != "return"

    async def changed(self, changes: Iterable[Change]) -> None:
        """Take in what changed in the kernel's tables."""
        seen = tuple(changes)
        kinds = {change.kind for change in seen}
        resync = ChangeKind.RESYNC in kinds
        if resync or ChangeKind.LINK in kinds:
            await self._links_changed()
        own = [change for change in seen if change.index == self._team.index]
        if resync or any(change.kind is ChangeKind.ADDRESS for change in own):
            await self.announce()
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
        # With many SAs a look at each of them would hold up all else.
        tops = self._team.host.plane.sa_tops(self._team.id, 0 if final else TOP_STEP)
        await self._team.securing.note_tops(tops, final=final)

    async def _links_changed(self) -> None:
        links = {link.name: link for link in await self._team.host.netlink.links()}
        own = links.get(self._team.name)
        gone = own is None or own.index != self._team.index
        if gone and not self.gone:
            # Nothing can be rebuilt under the host's feet: its addresses and routes went too.
            self._team.say("interface-gone", remedy="end esprit and start it again")
        self.gone = gone
        await self._team.swaps.look(links.values())
        shut = netfilter.shut_interfaces(await netfilter.listing())
        for name, member in list(self._team.members.items()):
            link = links.get(name)
            if link is None:
                continue
            known = self._team.state.member(member.id)
            if link.index != member.index or (known is not None and known.link == "gone"):
                continue  # another interface of that name, which stays the host's
            if name not in shut:
                # Somebody removed our table. Until now the host's stack could hear and speak
                # by this member; the team's own frames were not touched.
                await netfilter.shut(name)
                self._team.say("member-shut-again", member=name)
            member.mtu = link.mtu
        if not gone:
            await self.size()

    async def size(self) -> None:
        """Set the virtual NIC's MTU, and the largest super-frame that the stack may hand over."""
        mtus = [member.mtu for member in self._team.members.values()]
        sas = [running.sa for running in self._team.securing.sas]
        mtu = self._team.spec.mtu or team_mtu(mtus, sas)
        limit = super_frame_limit(min(mtus), sas) if mtus else None
        if limit is not None:
            with contextlib.suppress(OSError):  # an older kernel: they are then cut in two
                await self._team.host.netlink.set_gso_max_size(self._team.index, limit)
        if mtu != self._team.mtu:
            await self._team.host.netlink.set_mtu(self._team.index, mtu)
            self._team.mtu = mtu
            self._team.say("mtu", mtu=mtu)

    async def announce(self) -> None:
        """Renew the frames by which a member that takes over announces the team's addresses."""
        addresses = [
            address.interface.ip
            for address in await self._team.host.netlink.addresses(self._team.index)
            if address.usable
        ]
        self._team.apply(AnnouncementsChanged(frames=announcements(self._team.mac, addresses)))
        self.members_changed()

    def members_changed(self) -> None:
        """Renew the requests by which members find out that neighbours answer."""
        macs = {member.id: member.mac for member in self._team.members.values()}
        self._team.apply(AsksChanged(asks=asks(macs, self._team.state.probe.targets)))

    async def watch_peers(self) -> None:
        """Resolve the next hops of those peers that outbound SAs go to, and of no others."""
        if self.next_hops is None:
            return
        peers = self._team.securing.peers()
        await self.next_hops.watch(*peers)
        for peer in peers:
            self.resolve(peer)
        await self.next_hops.forget_all_but(peers)

    def next_hop(self, peer: IpAddress) -> str | None:
        """Return the Ethernet address of a peer's next hop, if it is known."""
        return None if self.next_hops is None else self.next_hops.mac_of(peer)

    def resolve(self, peer: IpAddress) -> None:
        """Tell a peer's SAs the next hop that is known, for those that came later."""
        if self.next_hops is not None:
            self._tell_next_hop(peer, self.next_hops.mac_of(peer))

    def _tell_next_hop(self, peer: IpAddress, mac: str | None) -> None:
        for running in self._team.securing.outbound_to(peer):
            self._team.host.plane.sa_next_hop(running.id, mac)

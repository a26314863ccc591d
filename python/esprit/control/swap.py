"""Hot swap: a member in the place of another, and interfaces that vanish and come back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from esprit import config
from esprit.control import members as membership
from esprit.control.apply import Transaction
from esprit.control.identity import mark
from esprit.errors import Conflict, EspritError
from esprit.model.event import MemberJoined, MemberLeft, SettingsChanged
from esprit.modes import decide

if TYPE_CHECKING:
    from collections.abc import Iterable

    from esprit.control.members import RunningMember
    from esprit.control.netlink import Link
    from esprit.control.team import RunningTeam
    from esprit.model import MemberSpec

# An interface that is gone for no longer is still the team's member: a driver that resets its
# device deletes the interface and makes it again within some seconds.
GRACE_NS = 5_000_000_000

# What a member of the config says that its successor takes over where it says nothing itself.
_INHERITED = ("priority", "carry", "weight")


@dataclass(slots=True)
class Absent:
    """A member whose interface vanished, and that was removed for it."""

    member: RunningMember
    spec: MemberSpec


class Swaps:
    """Replacements on one team, wanted and unwanted."""

    def __init__(self, team: RunningTeam) -> None:
        self._team = team
        self._vanished: dict[str, int] = {}
        self._absent: dict[str, Absent] = {}

    # wanted

    async def replace(self, old: str, table: Mapping[str, object], *, force: bool) -> None:
        """Put a member in the place of another, wholly or not at all.

        The new one joins first; a Plan that names it, and the other no more, is in force before
        the other is taken apart. SAs and the team's preference that named the old one name the
        new one from then on.

        Raises:
            NotFound: there is no such member.
            Conflict: both are the same interface.
            EspritError: why the new one cannot be had; everything is as it was.
        """
        team = self._team
        leaving = team.member(old)
        inherited = {key: getattr(leaving.spec, key) for key in _INHERITED}
        spec = config.member({**inherited, **table})
        if spec.interface == old:
            raise Conflict(
                f"member {old}",
                "cannot be replaced by itself",
                remedy="an interface that was plugged in again rejoins by itself",
            )
        await membership.check(team.host, team.spec, spec.interface, force=force)
        before = team.state

        def restore() -> None:
            team.state = replace(before, plan=team.state.plan)
            team.put_in_force(decide(team.state))

        try:
            async with Transaction(team.host.netlink, team.host.journal, team.name) as transaction:
                await team.take(transaction, spec)
                # No Plan may name the new one any more when it is taken apart again.
                transaction.on_failure("plan", restore)
                team.put_in_force(decide(team.state))
                team.securing.move(old, spec.interface)
                transaction.on_failure("SAs", lambda: team.securing.move(spec.interface, old))
                if before.preferred == old:
                    team.know(SettingsChanged(preferred=spec.interface))
                team.apply(MemberLeft(member=leaving.id))
        except BaseException:
            restore()
            raise
        await team.detach(leaving)
        team.say("member-replaced", member=old, by=spec.interface)

    # unwanted

    def next(self) -> int | None:
        """When the grace of the next vanished member ends."""
        return min(self._vanished.values(), default=None)

    def forget(self, interface: str) -> bool:
        """Wait no longer for a vanished member; says whether there was one."""
        absent = self._absent.pop(interface, None)
        if absent is not None:
            self._team.say("member-removed", member=interface)
        return absent is not None

    async def look(self, links: Iterable[Link]) -> None:
        """Take in which interfaces there are: who vanished, and who came back under any name."""
        present = list(links)
        for name, member in list(self._team.members.items()):
            found = self._find(member, present)
            known = self._team.state.member(member.id)
            if found is None:
                if name not in self._vanished:
                    self._vanished[name] = time.monotonic_ns() + GRACE_NS
            elif found.index != member.index or (known is not None and known.link == "gone"):
                await self._rejoin(member, found)
            else:
                self._vanished.pop(name, None)
        for name, absent in list(self._absent.items()):
            found = self._find(absent.member, present)
            if found is not None:
                await self._return(name, absent, found)

    async def due(self) -> None:
        """Remove the members whose interfaces have been gone for too long."""
        now = time.monotonic_ns()
        for name in [name for name, at in self._vanished.items() if at <= now]:
            del self._vanished[name]
            member = self._team.members.get(name)
            if member is None:
                continue
            # With the engine that it has now: an operator may have changed it since.
            own = self._team.host.engine_of(member.id)
            spec = replace(member.spec, engine=None if own is None else own.spec)
            await self._team.detach(member, gone=True)
            self._absent[name] = Absent(member, spec)
            self._team.say("member-vanished", member=name)

    async def _rejoin(self, member: RunningMember, found: Link) -> None:
        """Rebuild the port of a member whose interface was deleted and is there again."""
        team, old = self._team, member.spec.interface
        spec = replace(member.spec, interface=found.name)
        async with Transaction(team.host.netlink, team.host.journal, team.name) as transaction:
            opened = await membership.take(team.host, transaction, team.id, spec, member.id)
        self._vanished.pop(old, None)
        if found.name != old:
            await self._renamed(old, found.name)
        team.members[found.name] = opened
        team.apply(MemberJoined(member=opened.state()))
        team.upkeep.members_changed()
        team.say("member-rejoined", member=found.name, was=old)

    async def _return(self, old: str, absent: Absent, found: Link) -> None:
        """Take a member in again that was removed because its interface was gone."""
        team = self._team
        spec = replace(absent.spec, interface=found.name)
        before = team.state
        team.securing.member_ids[found.name] = absent.member.id
        try:
            async with Transaction(team.host.netlink, team.host.journal, team.name) as transaction:
                await team.take(transaction, spec)
                await team.upkeep.size()
                team.put_in_force(decide(team.state))
        except BaseException as error:
            team.state = replace(before, plan=team.state.plan)
            team.put_in_force(decide(team.state))
            if not isinstance(error, (EspritError, OSError)):
                raise
            # It is the operator's turn: trying again at every event would disturb the team.
            del self._absent[old]
            team.say("member-lost", member=old, message=str(error))
            return
        del self._absent[old]
        if found.name != old:
            await self._renamed(old, found.name)
        team.upkeep.members_changed()
        team.say("member-rejoined", member=found.name, was=old)

    async def _renamed(self, old: str, new: str) -> None:
        """A member has another name now: SAs, the preference and what was set follow."""
        team = self._team
        number = team.securing.member_ids.get(old)
        if number is not None:
            team.securing.member_ids[new] = number
        team.securing.move(old, new)
        if team.state.preferred == old:
            team.know(SettingsChanged(preferred=new))
        team.members.pop(old, None)
        team.host.give_back(old)
        team.host.taken[new] = team.name
        await membership.let_go(team.host, team.name, old)

    def _find(self, member: RunningMember, present: Iterable[Link]) -> Link | None:
        """The interface that is this member, whatever it is called now."""
        team, own = self._team, member.spec.interface
        # Some devices share what is burnt in, as a NIC's virtual functions may: what another
        # member has is not this one's, and the one that it has had stays its own.
        found = [
            link
            for link in present
            if mark(link).is_of(member.mark)
            and (link.name == own or link.name not in team.host.taken)
        ]
        found.sort(key=lambda link: link.index != member.index)
        return found[0] if found else None

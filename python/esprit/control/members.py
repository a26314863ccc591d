"""How an interface becomes a member, and an ordinary interface again."""

from dataclasses import dataclass

from esprit.control import ethtool
from esprit.control.apply import Transaction, put_back
from esprit.control.checks import check_member
from esprit.control.host import Host
from esprit.control.identity import Mark, mark
from esprit.control.netlink import Link
from esprit.control.steps import Feature, Shut, Up
from esprit.errors import Conflict, EspritError, InterfaceMissing
from esprit.model import MemberSpec, MemberState, TeamSpec
from esprit.model.words import Link as Wire

# A member's receive buffer should hold as many super-frames of 64 KiB as a worker takes in two
# batches; the kernel's default holds three, and a burst is lost.
ENOUGH_RCVBUF = 64 << 16


@dataclass(slots=True)
class RunningMember:
    """A member of a running team. A replugged interface keeps the member's number."""

    id: int
    spec: MemberSpec
    index: int
    mac: str
    mtu: int
    up: bool
    mark: Mark
    rcvbuf: int = 0

    def state(self) -> MemberState:
        """What modes know of it when its port has just been opened."""
        wire: Wire = "up" if self.up else "down"
        return MemberState(
            id=self.id,
            interface=self.spec.interface,
            link=wire,
            carry=self.spec.carry,
            priority=self.spec.priority,
            weight=self.spec.weight,
            foreign_mac=self.spec.foreign_mac,
            speed=ethtool.speed(self.spec.interface),
        )


async def check(host: Host, team: TeamSpec, interface: str, *, force: bool) -> Link:
    """Return the interface, if this team may have it; nothing is changed.

    Raises:
        Conflict: it belongs to a team already.
        InterfaceError: see :func:`esprit.control.checks.check_member`.
    """
    owner = host.taken.get(interface)
    if owner is not None:
        raise Conflict(
            f"interface {interface}",
            f"belongs to {owner} already",
            remedy="an interface can be in one team, once",
        )
    return await check_member(
        host.netlink, interface, force=force, allow=team.allow, deny=team.deny
    )


async def take(
    host: Host, transaction: Transaction, team_id: int, spec: MemberSpec, number: int
) -> RunningMember:
    """Shut the interface to the host stack, set it up, and open its port.

    The order matters: it is shut before it goes up, so that the host's stack never sends or
    answers by it.
    """
    name = spec.interface
    await transaction.do(Shut(interface=name))
    for feature, on in ethtool.wanted_changes(name):
        await transaction.do(Feature(interface=name, feature=feature, on=on))
    link = await host.netlink.link(name)
    if link is None:
        raise InterfaceMissing(name)
    if not link.up:
        await transaction.do(Up(interface=name))
    opened = host.plane.member_add({"id": number, "team": team_id, "interface": name})
    transaction.on_failure(f"member {name}", lambda: host.plane.member_remove(number))
    return RunningMember(
        id=number,
        spec=spec,
        index=opened["ifindex"],
        mac=opened["mac"],
        mtu=opened["mtu"],
        up=opened["up"],
        mark=mark(link),
        rcvbuf=opened["rcvbuf"],
    )


async def give_back(host: Host, team: str, interface: str) -> None:
    """Undo everything that was set on a member's interface, in reverse.

    Raises:
        RollbackFailed: something could not be put back; it stays in the state file.
    """
    failed = await put_back(
        host.netlink,
        host.journal,
        team,
        keep=lambda step: getattr(step, "interface", None) != interface,
    )
    if failed:
        raise EspritError(
            f"interface {interface}",
            f"could not be put back: {'; '.join(failed)}",
            remedy="the next start of esprit tries again",
        )


async def let_go(host: Host, team: str, interface: str) -> None:
    """Strike out what was set on an interface that is gone, or has another name now.

    Nothing of it is undone: what bears the name now, if anything, is not what it was set on.
    """
    for step in list(host.journal.teams.get(team, [])):
        if getattr(step, "interface", None) == interface:
            if isinstance(step, Shut):
                await step.undo(host.netlink)
            host.journal.forget(team, step)

"""How a team comes up, wholly or not at all, and how it ends."""

from __future__ import annotations

import errno
import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from esprit.control import members as membership
from esprit.control.apply import Transaction, put_back
from esprit.control.mtu import team_mtu
from esprit.control.steps import OwnAddress, OwnRoute, Tap, Up
from esprit.errors import AlreadyRunning, Conflict, DataPlaneError, NoVerifiedEngine, RollbackFailed
from esprit.model.event import EngineJoined
from esprit.modes import decide

if TYPE_CHECKING:
    from esprit.control.netlink import IpAddress
    from esprit.control.team import RunningTeam
    from esprit.model import RouteSpec

#: As long as the data plane's keyed hash takes it.
PROBE_KEY_BYTES = 16

_log = logging.getLogger("esprit")


async def check(team: RunningTeam, *, force: bool) -> None:
    """Ask whether everything could be had; nothing is changed.

    Raises:
        EspritError: the first thing that is in the way.
    """
    if not _adopted(team) and await team.host.netlink.link(team.name) is not None:
        raise AlreadyRunning(
            team.name,
            "there is an interface of that name, and it is not ours",
            remedy="give the team another name, or remove that interface",
        )
    if team.name in team.host.taken:
        raise Conflict(team.name, "is in use twice", remedy="give the team another name")
    for member in team.wanted.members:
        await membership.check(team.host, team.spec, member.interface, force=force)


def _adopted(team: RunningTeam) -> bool:
    return Tap(interface=team.name) in team.host.journal.teams.get(team.name, [])


async def start(team: RunningTeam, *, force: bool) -> None:
    """Make the team and put its first Plan in force: wholly, or not at all.

    Raises:
        EspritError: why not; what was set has been put back.
    """
    host = team.host
    await _put_back_leftovers(team)
    await check(team, force=force)
    async with Transaction(host.netlink, host.journal, team.name) as transaction:
        await _make_interface(team, transaction)
        # The pool is the host's: engines of other teams work for this one, too.
        for other in host.engines():
            team.know(EngineJoined(engine=other.state()))
        host.watchers.append(team.pool_changed)
        transaction.on_failure("pool", lambda: host.watchers.remove(team.pool_changed))
        for member in team.wanted.members:
            await team.take(transaction, member)
        for engine in team.wanted.engines:
            await team.admit(transaction, engine, None)
        # Policies before SAs, and both before the interface goes up.
        transaction.on_failure("SAs", team.securing.delete_all)
        team.securing.set_policies(team.wanted.policies)
        for sa in team.wanted.sas:
            await team.securing.add_sa(sa)
        _demand_protection(team)
        await team.upkeep.size()
        team.put_in_force(decide(team.state))
        transaction.on_failure("plan", team.close_doors)
        transaction.on_failure("applications", lambda: host.ended(team.id))
        await transaction.do(Up(interface=team.name))
        for address in team.spec.addresses:
            await transaction.do(OwnAddress(interface=team.name, address=str(address)))
        for route in team.spec.routes:
            via = route.via or await _tunnel_hop(team, route)
            await transaction.do(
                OwnRoute(
                    interface=team.name,
                    destination=str(route.to),
                    gateway=None if via is None else str(via),
                    source=None if route.src is None else str(route.src),
                )
            )
        await team.upkeep.begin()
    team.say("team-up", mode=team.state.mode, members=" ".join(team.members))


async def _tunnel_hop(team: RunningTeam, route: RouteSpec) -> IpAddress | None:
    """The outer next hop for a route into a tunnel that names none.

    Without one the kernel would ask for the Ethernet address of every inner host, which
    nobody on this side of the tunnel can answer.
    """
    for running in team.securing.sas:
        policy = team.securing.policy_of(running.sa)
        if (
            not running.outbound
            or running.sa.mode != "tunnel"
            or policy is None
            or policy.policy.remote.version != route.to.version
            or running.sa.dst.version != route.to.version
            or not policy.policy.remote.overlaps(route.to)
        ):
            continue
        outer = await team.host.netlink.route_to(running.sa.dst, team.index)
        if outer is not None:
            return outer.gateway or running.sa.dst
    return None


async def stop(team: RunningTeam) -> list[str]:
    """End the team and put everything back; returns what could not be.

    The interface goes down first, so that nothing new is sealed; then every SA's mark is
    settled at what it used.
    """
    host = team.host
    failed: list[str] = []
    try:
        await host.netlink.set_up(team.index, up=False)
    except OSError as error:
        if error.errno != errno.ENODEV:  # somebody has deleted it: it passes nothing any more
            failed.append(f"{team.name}: {error.strerror}")
    steps: tuple[Callable[[], Awaitable[None]], ...] = (
        lambda: team.upkeep.note_numbers(final=True),
        team.securing.delete_all,
        lambda: _remove_from_plane(team),
    )
    for step in steps:
        try:
            await step()
        except DataPlaneError as error:
            # One that has stopped took its parts with it; the system's are put back below.
            _log.warning("%s", error)
        except Exception as error:  # whatever it is, the rest is still put back
            failed.append(str(error) or type(error).__name__)
    failed += await put_back(host.netlink, host.journal, team.name)
    for interface in (team.name, *team.members):
        host.give_back(interface)
    team.say("team-down")
    return failed


async def _remove_from_plane(team: RunningTeam) -> None:
    team.host.watchers.remove(team.pool_changed)
    team.host.ended(team.id)
    team.host.plane.team_remove(team.id, destroy=True)
    for engine in team.host.engines():
        if engine.team == team.name:
            team.host.remove_engine(engine.spec.name)


async def _put_back_leftovers(team: RunningTeam) -> None:
    """Put back what a killed process set on interfaces that this team no longer wants."""
    wanted = {team.name, *(member.interface for member in team.wanted.members)}
    failed = await put_back(
        team.host.netlink,
        team.host.journal,
        team.name,
        keep=lambda step: getattr(step, "interface", None) in wanted,
    )
    if failed:
        raise RollbackFailed(team.name, f"left by an earlier process: {'; '.join(failed)}")


async def _make_interface(team: RunningTeam, transaction: Transaction) -> None:
    host = team.host
    links = [await host.netlink.link(one.interface) for one in team.wanted.members]
    mtus = [link.mtu for link in links if link is not None]
    team.mtu = team.spec.mtu or team_mtu(mtus, team.wanted.sas)
    adopt = _adopted(team)
    before = await host.netlink.link(team.name) if adopt else None
    team.mac = team.spec.mac or (before.mac if before is not None else "")
    if not team.mac:
        team.mac = own_mac(team.name, [link.mac for link in links if link is not None])
    await transaction.do(Tap(interface=team.name))
    made = host.plane.team_add(
        team.spec.to_native(id=team.id, mac=team.mac, mtu=team.mtu, adopt=before is not None)
    )
    transaction.on_failure(team.name, lambda: host.plane.team_remove(team.id, destroy=not adopt))
    # Made anew at each start, and known to nobody else: no neighbour can forge a probe.
    host.plane.probe_key(team.id, secrets.token_bytes(PROBE_KEY_BYTES))
    host.taken[team.name] = team.name
    transaction.on_failure(team.name, lambda: host.give_back(team.name))
    team.index = made["ifindex"]
    team.offloads = tuple(made["offloads"])
    await host.netlink.set_mtu(team.index, team.mtu)


def _demand_protection(team: RunningTeam) -> None:
    """Refuse to look IPsec-capable where policy demands it and no engine can give it."""
    plan = decide(team.state).plan
    if team.securing.protects and not plan.protects_any:
        raise NoVerifiedEngine(team.name)


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

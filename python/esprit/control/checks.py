"""Whether an interface may become a member: asked before anything is changed."""

import ipaddress
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from esprit.control.netlink import IpAddress, Link, Netlink
from esprit.errors import (
    InterfaceCarriesDefaultRoute,
    InterfaceCarriesSession,
    InterfaceEnslaved,
    InterfaceHasAddresses,
    InterfaceMissing,
    InterfaceUnfit,
)


async def check_member(
    netlink: Netlink,
    interface: str,
    *,
    force: bool = False,
    allow: Sequence[Mapping[str, str]] = (),
    deny: Sequence[Mapping[str, str]] = (),
) -> Link:
    """Return the interface, if a team may have it.

    Args:
        netlink: the socket to ask by.
        interface: its name.
        force: take it even if the operator's own way in goes by it.
        allow: the team's rules on what may be a member; anything if there is none.
        deny: its rules on what may not.

    Raises:
        InterfaceMissing: there is none of that name.
        InterfaceUnfit: it is the loopback, or the team's rules refuse it.
        InterfaceEnslaved: a bridge, bond or team has it.
        InterfaceCarriesDefaultRoute: the default route goes by it.
        InterfaceCarriesSession: the caller's SSH session goes by it.
        InterfaceHasAddresses: the host stack uses it.
    """
    link = await netlink.link(interface)
    if link is None:
        raise InterfaceMissing(interface)
    if link.loopback or not link.mac:
        raise InterfaceUnfit(interface)
    if allow or deny:
        # The inventory itself asks here whether a team would take an interface.
        from esprit.inventory import identify
        from esprit.inventory.asking import Asking
        from esprit.inventory.rules import refusal

        refused = refusal(identify(link, Asking()), allow, deny)
        if refused is not None:
            raise InterfaceUnfit(
                interface, refused, remedy="see `esprit inventory`, or change the team's rules"
            )
    if link.master is not None:
        master = await netlink.link_at(link.master)
        name = master.name if master else f"interface {link.master}"
        raise InterfaceEnslaved(interface, name)
    if not force:
        for route in await netlink.routes():
            if route.destination is None and link.index in route.oifs:
                raise InterfaceCarriesDefaultRoute(interface)
        await _check_session(netlink, link)
    used = [found for found in await netlink.addresses(link.index) if not found.link_scope]
    if used:
        raise InterfaceHasAddresses(interface, str(used[0].interface))
    return link


async def _check_session(netlink: Netlink, link: Link) -> None:
    for client, server in ssh_sessions():
        route = await netlink.route_to(client)
        answered = {
            found.index for found in await netlink.addresses() if found.interface.ip == server
        }
        if link.index in answered or (route is not None and link.index in route.oifs):
            raise InterfaceCarriesSession(link.name, str(client))


def ssh_sessions() -> Iterator[tuple[IpAddress, IpAddress]]:
    """Yield the client's and the server's address of each SSH session that we descend from.

    sudo takes SSH_CONNECTION out of the environment, so the ancestors are asked as well.
    """
    seen = set()
    for text in _connections():
        parts = text.split()
        if len(parts) != 4 or text in seen:
            continue
        seen.add(text)
        try:
            # A link-local address stands with its zone.
            yield (
                ipaddress.ip_address(parts[0].partition("%")[0]),
                ipaddress.ip_address(parts[2].partition("%")[0]),
            )
        except ValueError:
            continue


def _connections() -> Iterator[str]:
    own = os.environ.get("SSH_CONNECTION")
    if own:
        yield own
    pid = os.getppid()
    for _ in range(64):  # no shell nests deeper; a bound in case /proc changes under us
        if pid <= 1:
            return
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            status = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return
        for entry in environment.split(b"\0"):
            if entry.startswith(b"SSH_CONNECTION="):
                yield entry.partition(b"=")[2].decode(errors="replace")
        # The command's name, in parentheses, may hold anything; the parent's pid is the
        # second field behind it.
        pid = int(status.rpartition(")")[2].split()[1])

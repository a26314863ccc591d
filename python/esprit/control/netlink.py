"""The kernel's links, addresses, routes and neighbours, through rtnetlink.

pyroute2 ships no types, so what it hands out is read here and leaves as frozen values.
Kernel errors leave as :class:`OSError` with the kernel's number; callers know what they
were doing and can name the object and the remedy.
"""

import errno
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IpInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

T = TypeVar("T")

# A message of pyroute2: a dictionary whose `get` looks into the attributes too, by the
# attribute's short name. It ends here.
_Message = Any

# include/uapi/linux/if.h
IFF_UP = 0x1
IFF_LOOPBACK = 0x8
IFF_LOWER_UP = 0x10000
# include/uapi/linux/rtnetlink.h: the scope of a link-local address, the main table.
RT_SCOPE_LINK = 253
RT_TABLE_MAIN = 254
# include/uapi/linux/neighbour.h
NTF_USE = 0x01
NTF_EXT_MANAGED = 0x01
NUD_INCOMPLETE = 0x01
NUD_FAILED = 0x20
NUD_NOARP = 0x40
NUD_PERMANENT = 0x80
# include/uapi/linux/if_addr.h: an address with one of these is not usable yet, or never.
IFA_F_DADFAILED = 0x08
IFA_F_TENTATIVE = 0x40

# A dump that the table changed under is taken again; so many in a row are a storm, and the
# caller's next event will ask anew.
_DUMP_ATTEMPTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A network interface as the kernel has it now.

    ``permanent`` is the address that is burnt in, ``bus`` the device's place on its bus; a
    virtual interface has neither.
    """

    index: int
    name: str
    mac: str
    mtu: int
    up: bool
    carrier: bool
    loopback: bool
    kind: str | None
    master: int | None
    gso_max_size: int | None
    permanent: str | None = None
    bus: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address of an interface. ``link_scope`` is true of fe80::/10 and the like."""

    index: int
    interface: IpInterface
    link_scope: bool
    usable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route; ``destination`` is none for the default route."""

    destination: IpNetwork | None
    gateway: IpAddress | None
    source: IpAddress | None
    oifs: tuple[int, ...]
    table: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A line of the neighbour table; ``mac`` is none until it is resolved.

    A ``fixed`` one was entered by the operator, and is not resolved; a ``managed`` one the kernel
    keeps resolved by itself.
    """

    index: int
    address: IpAddress
    mac: str | None
    fixed: bool = False
    managed: bool = False


async def _asked(call: Awaitable[T]) -> T:
    """Wait for the kernel; its refusals are raised as :class:`OSError`."""
    try:
        return await call
    except NetlinkError as error:
        raise OSError(int(error.code), str(error.args[-1])) from error


class Netlink:
    """Questions and changes over one rtnetlink socket, in the caller's network namespace."""

    def __init__(self) -> None:
        self._ip = AsyncIPRoute(ext_ack=True, strict_check=True, flags=0)

    async def __aenter__(self) -> Self:
        await self._ip.setup_endpoint()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._ip.close()

    async def _dump(self, ask: Callable[[], object], read: Callable[..., T | None]) -> list[T]:
        """All messages of one dump, each read at once; what ``read`` leaves out is left out."""
        for _ in range(_DUMP_ATTEMPTS):
            try:
                found = (read(message) async for message in await ask())  # type: ignore[misc]
                return [value async for value in found if value is not None]
            except NetlinkDumpInterrupted:
                continue
            except NetlinkError as error:
                raise OSError(int(error.code), str(error.args[-1])) from error
        raise OSError(errno.EINTR, "the kernel's table changes faster than it can be read")

    # links

    async def links(self) -> list[Link]:
        """Every interface of the namespace."""
        return await self._dump(lambda: self._ip.link("dump"), _link)

    async def link(self, name: str) -> Link | None:
        """The interface of that name, or none."""
        try:
            messages = await _asked(self._ip.link("get", ifname=name))
        except OSError:
            return None
        return next((link for message in messages if (link := _link(message))), None)

    async def link_at(self, index: int) -> Link | None:
        """The interface of that index, or none."""
        try:
            messages = await _asked(self._ip.link("get", index=index))
        except OSError:
            return None
        return next((link for message in messages if (link := _link(message))), None)

    async def set_up(self, index: int, *, up: bool) -> None:
        """Set an interface administratively up or down."""
        await _asked(self._ip.link("set", index=index, state="up" if up else "down"))

    async def set_mtu(self, index: int, mtu: int) -> None:
        """Set an interface's MTU, in bytes behind the Ethernet header."""
        await _asked(self._ip.link("set", index=index, mtu=mtu))

    async def set_gso_max_size(self, index: int, size: int) -> None:
        """Set the largest super-frame, in bytes with headers, that the stack hands over."""
        await _asked(self._ip.link("set", index=index, gso_max_size=size))

    async def delete_link(self, index: int) -> None:
        """Delete a virtual interface."""
        await _asked(self._ip.link("del", index=index))

    # addresses

    async def addresses(self, index: int | None = None) -> list[Address]:
        """Addresses of one interface, or of all."""
        if index is None:
            return await self._dump(lambda: self._ip.addr("dump"), _address)
        found = await self._dump(lambda: self._ip.addr("dump", index=index), _address)
        return [address for address in found if address.index == index]

    async def add_address(self, index: int, interface: IpInterface) -> None:
        """Give an interface an address with its prefix length."""
        await _asked(
            self._ip.addr(
                "add", index=index, address=str(interface.ip), prefixlen=interface.network.prefixlen
            )
        )

    async def delete_address(self, index: int, interface: IpInterface) -> None:
        """Take an address away."""
        await _asked(
            self._ip.addr(
                "del", index=index, address=str(interface.ip), prefixlen=interface.network.prefixlen
            )
        )

    # routes

    async def routes(self) -> list[Route]:
        """The unicast routes of every table, IPv4 and IPv6."""
        found: list[Route] = []
        for family in (socket.AF_INET, socket.AF_INET6):
            found += await self._dump(
                lambda family=family: self._ip.route("dump", family=family),  # type: ignore[misc]
                _route,
            )
        return found

    async def route_to(self, destination: IpAddress, oif: int | None = None) -> Route | None:
        """The route that the kernel would take, or none if there is none."""
        out = {} if oif is None else {"oif": oif}
        try:
            messages = await _asked(self._ip.route("get", dst=str(destination), **out))
        except OSError:
            return None
        return next((route for message in messages if (route := _route(message))), None)

    async def add_route(
        self,
        destination: IpNetwork,
        oif: int,
        *,
        gateway: IpAddress | None,
        source: IpAddress | None,
    ) -> None:
        """Add a route to the main table."""
        await _asked(self._ip.route("add", **_route_query(destination, oif, gateway, source)))

    async def delete_route(
        self,
        destination: IpNetwork,
        oif: int,
        *,
        gateway: IpAddress | None,
        source: IpAddress | None,
    ) -> None:
        """Take a route out of the main table."""
        await _asked(self._ip.route("del", **_route_query(destination, oif, gateway, source)))

    # neighbours

    async def neighbours(self, index: int) -> list[Neighbour]:
        """The neighbour table of an interface."""
        found = await self._dump(lambda: self._ip.neigh("dump", ifindex=index), _neighbour)
        return [neighbour for neighbour in found if neighbour.index == index]

    async def manage_neighbour(self, index: int, address: IpAddress) -> bool:
        """Have the kernel resolve a neighbour and keep it resolved.

        An entry that is fixed (NUD_PERMANENT) is one no more: the kernel forgets its address.

        Returns:
            Whether the kernel will refresh it by itself (NTF_MANAGED, Linux 5.16); if not,
            this is to be called again from time to time.
        """
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        # With strict_check the state of a managed entry has to be zero: the kernel sets it.
        entry = {"dst": str(address), "ifindex": index, "family": family, "state": 0}
        try:
            await _asked(self._ip.neigh("replace", NDA_FLAGS_EXT=NTF_EXT_MANAGED, **entry))
        except OSError:
            await _asked(self._ip.neigh("replace", flags=NTF_USE, **entry))
            return False
        return True

    async def delete_neighbour(self, index: int, address: IpAddress) -> None:
        """Forget a neighbour, also a managed one."""
        await _asked(self._ip.neigh("del", dst=str(address), ifindex=index))


def _route_query(
    destination: IpNetwork, oif: int, gateway: IpAddress | None, source: IpAddress | None
) -> dict[str, str | int]:
    query: dict[str, str | int] = {"dst": str(destination), "oif": oif}
    if gateway is not None:
        query["gateway"] = str(gateway)
    if source is not None:
        query["prefsrc"] = str(source)
    return query


def _link(message: _Message) -> Link | None:
    name = message.get("ifname")
    if name is None:
        return None
    flags = int(message["flags"])
    info = message.get("linkinfo")
    kind = info.get("kind") if info is not None else None
    master = message.get("master")
    size = message.get("gso_max_size")
    return Link(
        index=int(message["index"]),
        name=str(name),
        mac=str(message.get("address") or ""),
        mtu=int(message.get("mtu") or 0),
        up=bool(flags & IFF_UP),
        carrier=bool(flags & IFF_LOWER_UP),
        loopback=bool(flags & IFF_LOOPBACK),
        kind=None if kind is None else str(kind),
        master=None if not master else int(master),
        gso_max_size=None if size is None else int(size),
        permanent=_text(message.get("perm_address")),
        bus=_text(message.get("parent_dev_name")),
    )


def _text(value: object) -> str | None:
    return str(value) if value else None


def _address(message: _Message) -> Address | None:
    # `local` is the interface's own address where it differs from the peer's (`address`).
    text = message.get("local") or message.get("address")
    if text is None:
        return None
    flags = int(message.get("flags") or 0)
    return Address(
        index=int(message["index"]),
        interface=ipaddress.ip_interface(f"{text}/{int(message['prefixlen'])}"),
        link_scope=int(message["scope"]) == RT_SCOPE_LINK,
        usable=not flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED),
    )


def _route(message: _Message) -> Route | None:
    if int(message.get("type") or 0) != 1:  # RTN_UNICAST
        return None
    length = int(message["dst_len"])
    destination = message.get("dst")
    gateway = message.get("gateway")
    source = message.get("prefsrc")
    oif = message.get("oif")
    hops = message.get("multipath") or ()
    oifs = [] if oif is None else [int(oif)]
    oifs += [int(hop["oif"]) for hop in hops]
    return Route(
        destination=None
        if destination is None
        else ipaddress.ip_network(f"{destination}/{length}"),
        gateway=None if gateway is None else ipaddress.ip_address(gateway),
        source=None if source is None else ipaddress.ip_address(source),
        oifs=tuple(oifs),
        table=int(message.get("table") or 0),
    )


def _neighbour(message: _Message) -> Neighbour | None:
    text = message.get("dst")
    if text is None:
        return None
    mac = message.get("lladdr")
    state = int(message["state"])
    failed = state & (NUD_INCOMPLETE | NUD_FAILED)
    return Neighbour(
        index=int(message["ifindex"]),
        address=ipaddress.ip_address(text),
        mac=None if mac is None or failed else str(mac),
        fixed=bool(state & (NUD_PERMANENT | NUD_NOARP)),
        managed=bool(int(message.get("flags_ext") or 0) & NTF_EXT_MANAGED),
    )

"""The changes that are made to this system, each with its undo.

A step is a value: it can be written to the state file before it is done, and undone by
another process. ``do`` is all or nothing; ``holds`` reads back whether the step is in
effect; ``undo`` may be called twice, and on an interface that is gone.
"""

import errno
import ipaddress
from collections.abc import Awaitable
from dataclasses import asdict, dataclass
from typing import ClassVar, Protocol

from esprit.control import ethtool, netfilter
from esprit.control.netlink import IpAddress, IpNetwork, Link, Netlink
from esprit.errors import InterfaceMissing

Json = dict[str, str | int | bool | None]

# What undoing finds when somebody else was faster: the interface, address or route is gone.
_GONE = {errno.ENODEV, errno.ENXIO, errno.EADDRNOTAVAIL, errno.ESRCH, errno.ENOENT}


class Step(Protocol):
    """One change of the system."""

    kind: ClassVar[str]
    # Whether a change that is not in effect afterwards makes the whole fail.
    vital: ClassVar[bool]

    async def do(self, netlink: Netlink) -> None:
        """Make the change, wholly or not at all."""

    async def holds(self, netlink: Netlink) -> bool:
        """Read back whether the change is in effect."""

    async def undo(self, netlink: Netlink) -> None:
        """Put back what was there before."""

    def to_json(self) -> Json:
        """Return the step for the state file."""


def _json(step: "_Step") -> Json:
    return {"kind": step.kind} | asdict(step)


async def _existing(netlink: Netlink, interface: str) -> Link:
    link = await netlink.link(interface)
    if link is None:
        raise InterfaceMissing(interface)
    return link


@dataclass(frozen=True, slots=True, kw_only=True)
class Shut:
    """A member shut to the host stack in both directions."""

    kind: ClassVar[str] = "shut"
    vital: ClassVar[bool] = True
    interface: str

    async def do(self, netlink: Netlink) -> None:
        """Install the member's two chains."""
        await netfilter.shut(self.interface)

    async def holds(self, netlink: Netlink) -> bool:
        """Whether both chains stand with the policy drop."""
        return await netfilter.is_shut(self.interface)

    async def undo(self, netlink: Netlink) -> None:
        """Remove the chains."""
        await netfilter.reopen(self.interface)

    def to_json(self) -> Json:
        """Return the step for the state file."""
        return _json(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """An offload of a member switched; it was the opposite before."""

    kind: ClassVar[str] = "feature"
    vital: ClassVar[bool] = False  # a driver that does not take it is slower, not wrong
    interface: str
    feature: str
    on: bool

    async def do(self, netlink: Netlink) -> None:
        """Switch it."""
        ethtool.set_feature(self.interface, self.feature, on=self.on)

    async def holds(self, netlink: Netlink) -> bool:
        """Whether the driver took it."""
        try:
            present = ethtool.features(self.interface)
        except OSError:
            return False
        return self.feature in present and present[self.feature].active == self.on

    async def undo(self, netlink: Netlink) -> None:
        """Switch it back."""
        try:
            ethtool.set_feature(self.interface, self.feature, on=not self.on)
        except OSError as error:
            if error.errno not in _GONE:
                raise

    def to_json(self) -> Json:
        """Return the step for the state file."""
        return _json(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    """An interface set administratively up; it was down before."""

    kind: ClassVar[str] = "up"
    vital: ClassVar[bool] = True
    interface: str

    async def do(self, netlink: Netlink) -> None:
        """Set it up."""
        await netlink.set_up((await _existing(netlink, self.interface)).index, up=True)

    async def holds(self, netlink: Netlink) -> bool:
        """Whether it is up."""
        link = await netlink.link(self.interface)
        return link is not None and link.up

    async def undo(self, netlink: Netlink) -> None:
        """Set it down."""
        link = await netlink.link(self.interface)
        if link is not None and link.up:
            await netlink.set_up(link.index, up=False)

    def to_json(self) -> Json:
        """Return the step for the state file."""
        return _json(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """A team's virtual NIC. The data plane makes it; this removes it, and knows that it is ours."""

    kind: ClassVar[str] = "tap"
    vital: ClassVar[bool] = True
    interface: str

    async def do(self, netlink: Netlink) -> None:
        """Nothing: the data plane makes the interface when the team is added."""

    async def holds(self, netlink: Netlink) -> bool:
        """Nothing to read back yet."""
        return True

    async def undo(self, netlink: Netlink) -> None:
        """Delete the interface, if it is still a TAP of that name."""
        link = await netlink.link(self.interface)
        if link is not None and link.kind == "tun":
            await _tolerant(netlink.delete_link(link.index))

    def to_json(self) -> Json:
        """Return the step for the state file."""
        return _json(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnAddress:
    """An address of a virtual NIC, as ``10.0.0.1/24``."""

    kind: ClassVar[str] = "address"
    vital: ClassVar[bool] = True
    interface: str
    address: str

    async def do(self, netlink: Netlink) -> None:
        """Add it; one that is there already is as good."""
        link = await _existing(netlink, self.interface)
        await _tolerant(
            netlink.add_address(link.index, ipaddress.ip_interface(self.address)), {errno.EEXIST}
        )

    async def holds(self, netlink: Netlink) -> bool:
        """Whether the interface has it."""
        link = await netlink.link(self.interface)
        if link is None:
            return False
        wanted = ipaddress.ip_interface(self.address)
        return any(found.interface == wanted for found in await netlink.addresses(link.index))

    async def undo(self, netlink: Netlink) -> None:
        """Remove it."""
        link = await netlink.link(self.interface)
        if link is not None:
            await _tolerant(
                netlink.delete_address(link.index, ipaddress.ip_interface(self.address))
            )

    def to_json(self) -> Json:
        """Return the step for the state file."""
        return _json(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRoute:
    """A route by a virtual NIC, ``via`` the outer next hop and ``src`` the inner address."""

    kind: ClassVar[str] = "route"
    vital: ClassVar[bool] = True
    interface: str
    destination: str
    gateway: str | None
    source: str | None

    async def do(self, netlink: Netlink) -> None:
        """Add it; one that is there already is as good."""
        link = await _existing(netlink, self.interface)
        destination, gateway, source = self._parsed()
        await _tolerant(
            netlink.add_route(destination, link.index, gateway=gateway, source=source),
            {errno.EEXIST},
        )

    async def holds(self, netlink: Netlink) -> bool:
        """Whether the main table has it."""
        link = await netlink.link(self.interface)
        destination, gateway, _ = self._parsed()
        return link is not None and any(
            route.destination == destination
            and route.gateway == gateway
            and link.index in route.oifs
            for route in await netlink.routes()
        )

    async def undo(self, netlink: Netlink) -> None:
        """Remove it."""
        link = await netlink.link(self.interface)
        if link is not None:
            destination, gateway, source = self._parsed()
            await _tolerant(
                netlink.delete_route(destination, link.index, gateway=gateway, source=source)
            )

    def _parsed(self) -> tuple[IpNetwork, IpAddress | None, IpAddress | None]:
        return (
            ipaddress.ip_network(self.destination),
            None if self.gateway is None else ipaddress.ip_address(self.gateway),
            None if self.source is None else ipaddress.ip_address(self.source),
        )

    def to_json(self) -> Json:
        """Return the step for the state file."""
        return _json(self)


_Step = Shut | Feature | Up | Tap | OwnAddress | OwnRoute
_KINDS: dict[str, type[_Step]] = {
    step.kind: step for step in (Shut, Feature, Up, Tap, OwnAddress, OwnRoute)
}


def step_from_json(found: Json) -> Step:
    """Read a step back from the state file.

    Raises:
        KeyError, TypeError: it is none.
    """
    fields = dict(found)
    return _KINDS[str(fields.pop("kind"))](**fields)  # type: ignore[arg-type]


async def _tolerant(call: Awaitable[None], accepted: set[int] | None = None) -> None:
    try:
        await call
    except OSError as error:
        if error.errno not in (_GONE if accepted is None else accepted):
            raise

"""A host in memory: links, addresses, routes, neighbours, nftables and offloads."""

import errno
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from esprit.control import ethtool, identity, netfilter
from esprit.control.netlink import (
    Address,
    IpAddress,
    IpInterface,
    IpNetwork,
    Link,
    Neighbour,
    Route,
)


class FakeSystem:
    """A host.

    It stands for :class:`esprit.control.netlink.Netlink` and, by :meth:`patch`, for the
    functions of the modules that speak to nft and ethtool.
    """

    def __init__(self) -> None:
        self.table: dict[str, Link] = {}
        self.own: list[Address] = []
        self.routing: list[Route] = []
        self.neighbouring: dict[tuple[int, IpAddress], str | None] = {}
        self.managed: set[IpAddress] = set()
        #: Neighbours that the operator entered.
        self.fixed: set[IpAddress] = set()
        self.shut: set[str] = set()
        self.offloads: dict[str, dict[str, bool]] = {}
        self.speeds: dict[str, int] = {}
        self.log: list[str] = []
        # The number of the change that fails; none: all succeed.
        self.fails_at: int | None = None
        self.manages = True
        self._changes = 0

    @classmethod
    def plugged(cls, monkeypatch: pytest.MonkeyPatch, *names: str) -> Self:
        """A host with these interfaces, in the place of the real one; nobody is logged in."""
        found = cls()
        for name in names:
            found.add_link(name)
        found.patch(monkeypatch)
        monkeypatch.delenv("SSH_CONNECTION", raising=False)
        return found

    def add_link(self, name: str, **changes: object) -> Link:
        """Plug an interface in."""
        link = Link(
            index=3 + len(self.table),
            name=name,
            mac=f"02:aa:00:00:00:{len(self.table):02x}",
            mtu=1500,
            up=False,
            carrier=True,
            loopback=False,
            kind="veth",
            master=None,
            gso_max_size=65536,
        )
        link = replace(link, **changes)  # type: ignore[arg-type]
        self.table[name] = link
        self.offloads[name] = {"rx-gro": False, "rx-lro": True, "rx-udp-gro-forwarding": False}
        return link

    def unplug(self, name: str) -> None:
        """Take an interface away, with its addresses and routes."""
        link = self.table.pop(name, None)
        if link is not None:
            self.own = [one for one in self.own if one.index != link.index]
            self.routing = [one for one in self.routing if link.index not in one.oifs]
            self.offloads.pop(name, None)

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put this host in the place of the real one."""
        monkeypatch.setattr(netfilter, "shut", self._shut)
        monkeypatch.setattr(netfilter, "reopen", self._reopen)
        monkeypatch.setattr(netfilter, "is_shut", self._is_shut)
        monkeypatch.setattr(netfilter, "listing", self._listing)
        monkeypatch.setattr(netfilter, "shut_interfaces", lambda listing: set(listing.split()))
        monkeypatch.setattr(ethtool, "speed", self.speeds.get)
        monkeypatch.setattr(identity, "_SYSFS", Path("/nonexistent"))
        monkeypatch.setattr(ethtool, "features", self._features)
        monkeypatch.setattr(ethtool, "set_feature", self._set_feature)

    def state(self) -> tuple[object, ...]:
        """Everything that a team could have changed and must put back."""
        return (
            {name: link.up for name, link in self.table.items()},
            sorted(str(address) for address in self.own),
            sorted(str(route) for route in self.routing),
            frozenset(self.shut),
            {name: dict(found) for name, found in self.offloads.items()},
        )

    def _change(self, what: str) -> None:
        self.log.append(what)
        self._changes += 1
        if self.fails_at is not None and self._changes == self.fails_at:
            raise OSError(errno.EPERM, "Operation not permitted")

    def _at(self, index: int) -> Link:
        for link in self.table.values():
            if link.index == index:
                return link
        raise OSError(errno.ENODEV, "No such device")

    # nftables and ethtool

    async def _shut(self, interface: str) -> None:
        self._change(f"shut {interface}")
        self.shut.add(interface)

    async def _reopen(self, interface: str) -> None:
        self.log.append(f"reopen {interface}")
        self.shut.discard(interface)

    async def _is_shut(self, interface: str) -> bool:
        return interface in self.shut

    async def _listing(self) -> str:
        return " ".join(sorted(self.shut))

    def _features(self, interface: str) -> dict[str, ethtool.Offload]:
        return {
            name: ethtool.Offload(advertised=True, active=on, changeable=True)
            for name, on in self.offloads.get(interface, {}).items()
        }

    def _set_feature(self, interface: str, name: str, *, on: bool) -> None:
        self._change(f"feature {interface} {name} {on}")
        if interface not in self.offloads:
            raise OSError(errno.ENODEV, "No such device")
        self.offloads[interface][name] = on

    # netlink

    async def links(self) -> list[Link]:
        return list(self.table.values())

    async def link(self, name: str) -> Link | None:
        return self.table.get(name)

    async def link_at(self, index: int) -> Link | None:
        return next((link for link in self.table.values() if link.index == index), None)

    async def set_up(self, index: int, *, up: bool) -> None:
        link = self._at(index)
        self._change(f"{'up' if up else 'down'} {link.name}")
        self.table[link.name] = replace(link, up=up)

    async def set_mtu(self, index: int, mtu: int) -> None:
        link = self._at(index)
        self._change(f"mtu {link.name} {mtu}")
        self.table[link.name] = replace(link, mtu=mtu)

    async def set_gso_max_size(self, index: int, size: int) -> None:
        link = self._at(index)
        self.table[link.name] = replace(link, gso_max_size=size)

    async def delete_link(self, index: int) -> None:
        self.unplug(self._at(index).name)

    async def addresses(self, index: int | None = None) -> list[Address]:
        return [address for address in self.own if index in (None, address.index)]

    async def add_address(self, index: int, interface: IpInterface) -> None:
        self._change(f"address {interface}")
        self.own.append(Address(index=index, interface=interface, link_scope=False, usable=True))

    async def delete_address(self, index: int, interface: IpInterface) -> None:
        self.own = [one for one in self.own if (one.index, one.interface) != (index, interface)]

    async def routes(self) -> list[Route]:
        return list(self.routing)

    async def route_to(self, destination: IpAddress, oif: int | None = None) -> Route | None:
        for route in self.routing:
            if route.destination is not None and destination in route.destination:
                return route
        for address in self.own:
            if destination in address.interface.network and oif in (None, address.index):
                return Route(
                    destination=address.interface.network,
                    gateway=None,
                    source=None,
                    oifs=(address.index,),
                    table=254,
                )
        return None

    async def add_route(
        self,
        destination: IpNetwork,
        oif: int,
        *,
        gateway: IpAddress | None,
        source: IpAddress | None,
    ) -> None:
        self._change(f"route {destination}")
        self.routing.append(
            Route(destination=destination, gateway=gateway, source=source, oifs=(oif,), table=254)
        )

    async def delete_route(
        self,
        destination: IpNetwork,
        oif: int,
        *,
        gateway: IpAddress | None,
        source: IpAddress | None,
    ) -> None:
        self.routing = [route for route in self.routing if route.destination != destination]

    async def neighbours(self, index: int) -> list[Neighbour]:
        return [
            Neighbour(
                index=index,
                address=address,
                mac=mac,
                fixed=address in self.fixed,
                managed=self.manages and address in self.managed,
            )
            for (at, address), mac in self.neighbouring.items()
            if at == index
        ]

    async def manage_neighbour(self, index: int, address: IpAddress) -> bool:
        self.managed.add(address)
        self.neighbouring.setdefault((index, address), None)
        return self.manages

    async def delete_neighbour(self, index: int, address: IpAddress) -> None:
        self.managed.discard(address)
        self.neighbouring.pop((index, address), None)

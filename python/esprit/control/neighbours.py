"""The Ethernet address of each SA's next hop.

An outer packet does not pass the host stack again, so what the stack would look up is
looked up here: the route to the peer by the virtual NIC, and the neighbour on that route.
The kernel resolves the neighbour and keeps it fresh, where the operator has not fixed it; the data
plane is told when it changes.
"""

from collections.abc import Callable
from contextlib import suppress

from esprit.control.netlink import IpAddress, Netlink


class NextHops:
    """Next hops by peer address, on one virtual NIC."""

    def __init__(
        self, netlink: Netlink, index: int, tell: Callable[[IpAddress, str | None], None]
    ) -> None:
        self._netlink = netlink
        self._index = index
        self._tell = tell
        self._told: dict[IpAddress, str | None] = {}
        self._hops: dict[IpAddress, IpAddress | None] = {}
        self._managed: set[IpAddress] = set()
        self.refresh_by_timer = False

    async def watch(self, *peers: IpAddress) -> None:
        """Resolve peers' next hops from now on."""
        if new := [peer for peer in peers if peer not in self._hops]:
            self._hops.update(dict.fromkeys(new))
            await self._look(new)

    async def forget_all_but(self, peers: set[IpAddress]) -> None:
        """Stop resolving the next hops of all other peers."""
        for peer in set(self._hops) - peers:
            del self._hops[peer]
            self._told.pop(peer, None)
        await self._release()

    def hop_of(self, peer: IpAddress) -> IpAddress | None:
        """Return the outer next hop towards a peer, or none while there is no route."""
        return self._hops.get(peer)

    def mac_of(self, peer: IpAddress) -> str | None:
        """Return the Ethernet address that the data plane was told last."""
        return self._told.get(peer)

    def concerns(self, address: IpAddress | None) -> bool:
        """Whether a change of this neighbour matters here."""
        return address is None or address in self._hops.values()

    async def refresh(self) -> None:
        """Look at every route and neighbour again."""
        await self._look(list(self._hops))

    async def neighbours_changed(self) -> None:
        """Look at the neighbour table again, once for all peers."""
        await self._tell_all()

    async def _look(self, peers: list[IpAddress]) -> None:
        for peer in peers:
            route = await self._netlink.route_to(peer, self._index)
            usable = route is not None and self._index in route.oifs
            self._hops[peer] = (route.gateway or peer) if route is not None and usable else None
        table = await self._netlink.neighbours(self._index)
        fixed = {found.address for found in table if found.fixed}
        self._managed -= fixed
        resolved = fixed | {found.address for found in table if found.managed}
        for hop in {self._hops[peer] for peer in peers} - resolved:
            if hop is not None:
                await self._manage(hop)
        await self._release()
        await self._tell_all()

    async def _manage(self, hop: IpAddress) -> None:
        # While the link is down it fails; the link's next event asks again.
        with suppress(OSError):
            if not await self._netlink.manage_neighbour(self._index, hop):
                self.refresh_by_timer = True
            self._managed.add(hop)

    async def _release(self) -> None:
        """Leave neighbours that are no peer's next hop any more to the kernel's own judgement."""
        for hop in self._managed - set(self._hops.values()):
            self._managed.discard(hop)
            # With its link it may have gone by itself.
            with suppress(OSError):
                await self._netlink.delete_neighbour(self._index, hop)

    async def _tell_all(self) -> None:
        table = {found.address: found.mac for found in await self._netlink.neighbours(self._index)}
        for peer, hop in self._hops.items():
            mac = None if hop is None else table.get(hop)
            if peer not in self._told or self._told[peer] != mac:
                self._told[peer] = mac
                self._tell(peer, mac)

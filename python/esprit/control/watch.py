"""What changes in the kernel's tables while a team runs."""

import errno
import ipaddress
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.rtnl import (
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV4_ROUTE,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_IPV6_ROUTE,
    RTMGRP_LINK,
    RTMGRP_NEIGH,
)

from esprit.control.netlink import IpAddress

_Message = Any  # pyroute2's, untyped

_GROUPS = (
    RTMGRP_LINK
    | RTMGRP_NEIGH
    | RTMGRP_IPV4_IFADDR
    | RTMGRP_IPV6_IFADDR
    | RTMGRP_IPV4_ROUTE
    | RTMGRP_IPV6_ROUTE
)


class ChangeKind(StrEnum):
    """What kind of object changed."""

    LINK = "link"
    ADDRESS = "address"
    ROUTE = "route"
    NEIGHBOUR = "neighbour"
    RESYNC = "resync"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something changed. A ``RESYNC`` says that events were lost: read everything again."""

    kind: ChangeKind
    index: int | None = None
    name: str | None = None
    address: IpAddress | None = None
    deleted: bool = False


_KINDS = {
    "LINK": ChangeKind.LINK,
    "ADDR": ChangeKind.ADDRESS,
    "ROUTE": ChangeKind.ROUTE,
    "NEIGH": ChangeKind.NEIGHBOUR,
}


async def changes() -> AsyncIterator[Change]:
    """Yield a ``RESYNC`` once the subscription stands, then every change, without end.

    When the kernel's queue overflows, the socket still hands out old events and looks
    alive: it is closed, a new one is opened, and another ``RESYNC`` is yielded.
    """
    while True:
        monitor = AsyncIPRoute(ext_ack=True, strict_check=True, flags=0)
        try:
            await monitor.bind(groups=_GROUPS)
            yield Change(kind=ChangeKind.RESYNC)
            while True:  # get() ends after each packet
                async for message in monitor.get():
                    change = _change(message)
                    if change is not None:
                        yield change
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
        finally:
            monitor.close()


def _change(message: _Message) -> Change | None:
    event = str(message["event"])
    kind = _KINDS.get(event.removeprefix("RTM_NEW").removeprefix("RTM_DEL"))
    if kind is None:
        return None
    index = message.get("ifindex") if kind is ChangeKind.NEIGHBOUR else message.get("index")
    name = message.get("ifname") if kind is ChangeKind.LINK else None
    address = message.get("dst") if kind is ChangeKind.NEIGHBOUR else None
    return Change(
        kind=kind,
        index=None if index is None else int(index),
        name=None if name is None else str(name),
        address=None if address is None else ipaddress.ip_address(address),
        deleted=event.startswith("RTM_DEL"),
    )

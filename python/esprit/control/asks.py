"""The requests by which members find out that a neighbour answers.

An ARP probe whose sender address is 0.0.0.0 (RFC 5227, section 2.1.1) changes no neighbour's
table; it and the neighbour solicitation come from the member's own addresses, so that the answer
comes to that member and to no other.
"""

import ipaddress
import struct
from collections.abc import Iterable, Mapping

from esprit.control.announce import BROADCAST, ETH_P_ARP, ETH_P_IPV6, frame, icmpv6
from esprit.control.netlink import IpAddress
from esprit.model import Ask

# RFC 4291, section 2.7.1.
_SOLICITED = ipaddress.IPv6Address("ff02::1:ff00:0").packed[:13]
_LINK_LOCAL = ipaddress.IPv6Address("fe80::").packed[:8]


def asks(members: Mapping[int, str], targets: Iterable[IpAddress]) -> tuple[Ask, ...]:
    """One request for each member, by its Ethernet address, and each neighbour."""
    return tuple(
        Ask(member=member, address=str(target), frame=_ask(mac, target))
        for target in targets
        for member, mac in members.items()
    )


def _ask(mac: str, target: IpAddress) -> bytes:
    source = bytes.fromhex(mac.replace(":", ""))
    if isinstance(target, ipaddress.IPv4Address):
        body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
        body += source + b"\0" * 4 + b"\0" * 6 + target.packed
        return frame(BROADCAST, source, ETH_P_ARP, body)
    group = _SOLICITED + target.packed[13:]
    # Type 135, code 0; target; option 1 (source link-layer address), one unit.
    message = struct.pack("!BBHI", 135, 0, 0, 0) + target.packed + b"\x01\x01" + source
    packet = icmpv6(link_local(source), group, message)
    return frame(b"\x33\x33" + group[12:], source, ETH_P_IPV6, packet)


def link_local(mac: bytes) -> bytes:
    """A member's link-local address, from its Ethernet address (RFC 4291, appendix A)."""
    return _LINK_LOCAL + bytes([mac[0] ^ 0x02]) + mac[1:3] + b"\xff\xfe" + mac[3:]

"""The frames by which a member that takes over tells the switches and the neighbours.

Made here and carried in the Plan, so that the worker that takes over sends them at once.
"""

import ipaddress
import struct
from collections.abc import Iterable

from esprit.control.netlink import IpAddress

ETH_P_ARP = 0x0806
ETH_P_RARP = 0x8035
ETH_P_IPV6 = 0x86DD
BROADCAST = b"\xff" * 6
# The shortest Ethernet frame without its FCS; shorter ones are filled up.
_SHORTEST = 60


def announcements(mac: str, addresses: Iterable[IpAddress]) -> tuple[bytes, ...]:
    """Ethernet frames that move ``mac`` and its addresses to the port that sends them.

    A gratuitous ARP (RFC 5227, section 3) for each IPv4 address, an unsolicited neighbour
    advertisement (RFC 4861, section 7.2.6) for each IPv6 address; with no address at all one
    RARP frame, from which the switches learn nonetheless.
    """
    source = bytes.fromhex(mac.replace(":", ""))
    frames = []
    for address in addresses:
        if isinstance(address, ipaddress.IPv4Address):
            frames.append(_arp(source, address.packed))
        else:
            frames.append(_advertisement(source, address.packed))
    if not frames:
        body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 3) + (source + b"\0" * 4) * 2
        frames.append(frame(BROADCAST, source, ETH_P_RARP, body))
    return tuple(frames)


def frame(destination: bytes, source: bytes, ethertype: int, body: bytes) -> bytes:
    """An Ethernet frame without its FCS, filled up to the shortest that there is."""
    return (destination + source + struct.pack("!H", ethertype) + body).ljust(_SHORTEST, b"\0")


def _arp(source: bytes, address: bytes) -> bytes:
    # Ethernet, IPv4, a request for the sender's own address.
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    body += source + address + b"\0" * 6 + address
    return frame(BROADCAST, source, ETH_P_ARP, body)


def _advertisement(source: bytes, address: bytes) -> bytes:
    everyone = ipaddress.IPv6Address("ff02::1").packed
    # Type 136, code 0, override flag; target; option 2 (target link-layer address), one unit.
    message = struct.pack("!BBHI", 136, 0, 0, 0x20000000) + address + b"\x02\x01" + source
    packet = icmpv6(address, everyone, message)
    return frame(b"\x33\x33\x00\x00\x00\x01", source, ETH_P_IPV6, packet)


def icmpv6(source: bytes, destination: bytes, message: bytes) -> bytes:
    """An IPv6 packet of neighbour discovery, its checksum filled in."""
    pseudo = source + destination + struct.pack("!IHBB", len(message), 0, 0, 58)
    message = message[:2] + struct.pack("!H", _checksum(pseudo + message)) + message[4:]
    header = struct.pack("!IHBB", 6 << 28, len(message), 58, 255)
    return header + source + destination + message


def _checksum(data: bytes) -> int:
    # RFC 1071, over an even number of bytes.
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

"""How large a packet the virtual NIC may take: what a member carries, less ESP's overhead."""

from collections.abc import Iterable

from esprit.model import SecurityAssociation

# Lengths in bytes. Outer headers: RFC 791 without options, RFC 8200, RFC 768.
_IP_HEADER = {4: 20, 6: 40}
_UDP_HEADER = 8
# RFC 4303: SPI and sequence number; RFC 4106: the IV and the ICV of AES-GCM-16.
_ESP_HEADER = 8
_IV = 8
_ICV = 16
# RFC 4303, section 2.4: pad length and next header, and padding to a multiple of four.
_TRAILER = 2
_ALIGN = 4

# RFC 8200, section 5, and RFC 791: what IP takes for granted of a link.
MTU_MIN = 576
# A super-frame, its IP length field included, is at most this long (RFC 791).
IP_MAX = 65535


def inner_mtu(outer: int, sa: SecurityAssociation) -> int:
    """The largest packet that, sealed by this SA, fits into ``outer`` bytes.

    In tunnel mode the packet is wrapped whole. In transport mode its own IP header stays in
    front, so that only what is behind it is padded.
    """
    header = _IP_HEADER[sa.dst.version]
    room = outer - header - _ESP_HEADER - _IV - _ICV
    if sa.encap is not None:
        room -= _UDP_HEADER
    room = room // _ALIGN * _ALIGN - _TRAILER
    return room if sa.mode == "tunnel" else room + header


def team_mtu(member_mtus: Iterable[int], sas: Iterable[SecurityAssociation]) -> int:
    """The virtual NIC's MTU: the smallest member's, less the largest overhead of an SA."""
    outer = min(member_mtus, default=1500)
    return max(MTU_MIN, min([outer, *(inner_mtu(outer, sa) for sa in sas)]))


def super_frame_limit(outer: int, sas: Iterable[SecurityAssociation]) -> int | None:
    """The largest super-frame that still leaves as one when it is sealed into UDP.

    Every segment grows by the overhead, and the sealed super-frame may not exceed
    :data:`IP_MAX`; one that would is sent as a large part and a small rest, which costs the
    rest a system call and a trip of its own.

    Returns:
        Bytes with headers for the TAP's gso_max_size; none if no SA is UDP-encapsulated.
    """
    encapsulated = [sa for sa in sas if sa.encap is not None]
    if not encapsulated:
        return None
    inner = min(inner_mtu(outer, sa) for sa in encapsulated)
    return (IP_MAX - max(_IP_HEADER.values())) // outer * inner

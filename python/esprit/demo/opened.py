"""Opens captured ESP frames with Scapy, an implementation of ESP that is not ours.

An eavesdropper's sample is an Ethernet frame as the wire carried it. Where the kernel carries a
UDP super-frame whole, the sample comes with the size at which a NIC would cut it, and is cut here.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

ETHERNET_LEN = 14
TAG_LEN = 4
#: EtherTypes of 802.1Q and 802.1ad tags.
TAGS = (0x8100, 0x88A8)
ESP_PROTOCOL = 50
UDP_PROTOCOL = 17
UDP_LEN = 8
#: AES-GCM-16's key material ends with four bytes of salt (RFC 4106 section 8.1).
SALT_LEN = 4
#: How an unlucky sample is told apart in the report, and no more than that many.
FAILURES_KEPT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What opens the packets of one SA."""

    spi: int
    #: AES key and salt.
    material: bytes = field(repr=False)
    tunnel: bool
    #: UDP-encapsulated (RFC 3948).
    udp: bool
    src: str
    dst: str
    esn: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One ESP packet of a frame: an IP packet of its own."""

    spi: int
    tags: int
    udp: bool
    data: bytes


@dataclass(slots=True, kw_only=True)
class Opened:
    """What came of opening samples."""

    native: int = 0
    encapsulated: int = 0
    tagged: int = 0
    #: Those with the canary in their plaintext: they carried the download itself.
    canaries: int = 0
    #: Packets of SAs that the given keys do not include.
    foreign: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many packets opened."""
        return self.native + self.encapsulated


def packets(frame: bytes, gso_size: int) -> Iterator[Packet]:
    """The ESP packets in an Ethernet frame; none where it carries something else.

    Args:
        frame: from the destination address on, with its VLAN tags.
        gso_size: the UDP payload of each packet where `frame` is a super-frame, or 0.
    """
    at, tags = ETHERNET_LEN, 0
    while len(frame) >= at and int.from_bytes(frame[at - 2 : at]) in TAGS:
        at, tags = at + TAG_LEN, tags + 1
    packet = frame[at:]
    if len(packet) < 20 or packet[0] >> 4 != 4:
        # The demonstration's outer packets are IPv4.
        return
    header_len, protocol = (packet[0] & 0xF) * 4, packet[9]
    # A super-frame's total length may be that of the whole.
    header, payload = packet[:header_len], packet[header_len : int.from_bytes(packet[2:4])]
    if protocol == ESP_PROTOCOL and len(payload) > 8:
        spi = int.from_bytes(payload[:4])
        yield Packet(spi=spi, tags=tags, udp=False, data=_ip(header, payload))
    elif protocol == UDP_PROTOCOL and len(payload) > UDP_LEN + 8:
        ports, content = payload[:4], payload[UDP_LEN:]
        for start in range(0, len(content), gso_size or len(content)):
            part = content[start : start + (gso_size or len(content))]
            spi = int.from_bytes(part[:4])
            datagram = ports + struct.pack(">HH", UDP_LEN + len(part), 0) + part
            # Four zero bytes are the marker of IKE (RFC 3948 section 2.2).
            if spi:
                yield Packet(spi=spi, tags=tags, udp=True, data=_ip(header, datagram))


def _ip(header: bytes, payload: bytes) -> bytes:
    """The packet with its own length, and a checksum of zero: Scapy looks at neither."""
    length = struct.pack(">H", len(header) + len(payload))
    return header[:2] + length + header[4:10] + b"\0\0" + header[12:] + payload


def open_samples(
    samples: Iterable[tuple[int, bytes]], keys: Mapping[int, Key], canary: bytes
) -> Opened:
    """Opens what the eavesdropper kept.

    Args:
        samples: pairs of a super-frame's segment size, or 0, and an Ethernet frame.
        keys: by SPI, of every SA that there was.
        canary: what the download's segments carry.
    """
    result = Opened()
    openers = {spi: _Opener(key) for spi, key in keys.items()}
    for gso_size, frame in samples:
        for packet in packets(frame, gso_size):
            key = keys.get(packet.spi)
            if key is None:
                result.foreign += 1
                continue
            try:
                plain = openers[packet.spi].open(packet.data)
            # Scapy's own errors share no base.
            except Exception as error:
                if len(result.failures) < FAILURES_KEPT:
                    result.failures.append(f"SPI {packet.spi:#x}: {type(error).__name__}: {error}")
                continue
            if key.udp != packet.udp:
                result.failures.append(f"SPI {packet.spi:#x}: not in its SA's encapsulation")
            result.encapsulated += packet.udp
            result.native += not packet.udp
            result.tagged += bool(packet.tags)
            result.canaries += canary in plain
    return result


class _Opener:
    """A Scapy SA."""

    def __init__(self, key: Key) -> None:
        # Scapy takes more than a second to load; only this file needs it.
        from scapy.layers.inet import IP, UDP
        from scapy.layers.ipsec import ESP, SecurityAssociation

        self._ip = IP
        self._esn = key.esn
        self._association: Any = SecurityAssociation(  # type: ignore[no-untyped-call]
            ESP,
            spi=key.spi,
            crypt_algo="AES-GCM",
            crypt_key=key.material,
            esn_en=key.esn,
            tunnel_header=IP(src=key.src, dst=key.dst) if key.tunnel else None,
            nat_t_header=UDP(sport=4500, dport=4500) if key.udp else None,
        )

    def open(self, packet: bytes) -> bytes:
        """The plaintext packet.

        Raises:
            Exception: whatever Scapy raises where the packet does not open.
        """
        # The demonstration sends far fewer than 2^32 packets: the high half is zero.
        return bytes(self._association.decrypt(self._ip(packet), esn_en=self._esn, esn=0))

"""Frames made by hand, and a way to send them."""

import json
import random
import struct
import sys
from collections.abc import Iterator

from esprit.demo.lab import Host

ETH_VLAN, ETH_QINQ, ETH_PPPOE, ETH_MPLS = 0x8100, 0x88A8, 0x8864, 0x8847
ETH_IPV4, ETH_IPV6 = 0x0800, 0x86DD
#: IEEE 802 local experimental EtherType: no protocol of anybody's.
ETH_LOCAL = 0x88B5

SEND = """
import contextlib, json, socket, sys
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sender.bind((sys.argv[1], 0))
for frame in json.load(sys.stdin):
    with contextlib.suppress(OSError):  # longer than the MTU, or no frame at all
        sender.send(bytes.fromhex(frame))
"""


def send(host: Host, interface: str, frames: list[bytes]) -> None:
    """Send frames by an interface of a host, as they are."""
    host.run(*(sys.executable, "-c", SEND, interface), stdin=json.dumps([f.hex() for f in frames]))


def mac(host: Host, interface: str) -> bytes:
    """The address of an interface."""
    return bytes.fromhex(str(host.link(interface)["address"]).replace(":", ""))


def address(text: str) -> bytes:
    return bytes(map(int, text.split(".")))


def checksum(header: bytes) -> int:
    total: int = sum(struct.unpack(f">{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ipv4(source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    """An IPv4 packet with a right checksum."""
    length = 20 + len(payload)
    head = struct.pack(">BBHHHBB", 0x45, 0, length, 1, 0, 64, protocol)
    ends = address(source) + address(destination)
    return head + struct.pack(">H", checksum(head + b"\0\0" + ends)) + ends + payload


def udp(sport: int, dport: int, payload: bytes) -> bytes:
    return struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload


def malformed(ours: bytes, theirs: bytes, here: str, there: str) -> Iterator[bytes]:
    """Frames for a host that are wrong in every layer, and random ones; always the same."""
    ends = ours + theirs

    def frame(ethertype: int, payload: bytes) -> bytes:
        return ends + struct.pack(">H", ethertype) + payload

    good = ipv4(there, here, 17, udp(9, 9, bytes(64)))
    esp = struct.pack(">IIQ", 0x1001, 1, 1) + bytes(48)
    for end in range(len(good)):
        yield frame(ETH_IPV4, good[:end])
    for end in range(len(esp)):
        yield frame(ETH_IPV4, ipv4(there, here, 50, esp[:end]))
        yield frame(ETH_IPV4, ipv4(there, here, 17, udp(4500, 4500, esp[:end])))
    for spi in (0, 1, 255, 256, 4096, 0xDEADBEEF, 0xFFFFFFFF):
        for sequence in (0, 1, 0xFFFFFFFF):
            packet = struct.pack(">IIQ", spi, sequence, 1) + bytes(48)
            yield frame(ETH_IPV4, ipv4(there, here, 50, packet))
            yield frame(ETH_IPV4, ipv4(there, here, 17, udp(4500, 4500, packet)))
    # Header lengths, total lengths and checksums that contradict the frame.
    for at, value in ((0, 0x40), (0, 0x44), (0, 0x4F), (0, 0x65), (2, 0xFF), (3, 19), (10, 1)):
        changed = bytearray(good)
        changed[at] ^= value if at == 10 else changed[at] ^ value
        yield frame(ETH_IPV4, bytes(changed))
    # Tags without an end, IPv6 extension headers without an end, jumbograms of nothing.
    yield frame(ETH_VLAN, struct.pack(">HH", 1, ETH_VLAN) * 8)
    yield frame(ETH_QINQ, b"\0")
    for following in (0, 43, 44, 50, 51, 60, 58, 59, 135, 255):
        head = struct.pack(">IHBB", 6 << 28, 200, following, 64) + bytes(31) + b"\1" + bytes(16)
        chain = struct.pack(">BB6x", following, 0)
        yield frame(ETH_IPV6, head)
        yield frame(ETH_IPV6, head + chain * 40)
        yield frame(ETH_IPV6, head + b"\xff" * 200)
    for ethertype in (ETH_PPPOE, ETH_MPLS, ETH_LOCAL, 0, 0x05DC):
        yield frame(ethertype, bytes(46))
    random_bytes = random.Random(4303)
    for _ in range(500):
        length = random_bytes.randrange(1500)
        ethertype = random_bytes.choice((ETH_IPV4, ETH_IPV6, ETH_VLAN))
        yield frame(ethertype, random_bytes.randbytes(length))
        noisy = bytearray(good)
        for _ in range(3):
            noisy[random_bytes.randrange(len(noisy))] = random_bytes.randrange(256)
        yield frame(ETH_IPV4, bytes(noisy))

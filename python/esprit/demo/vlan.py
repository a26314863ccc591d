"""A VLAN interface on top of the team, where the kernel was built without them.

`ip link add link team0 name team0.7 type vlan id 7` is the usual way, and is taken where it works.
Elsewhere this process stands in for it: a TAP of that name whose frames it tags and sends through
the lower interface, and which gets the frames that come back with the tag, untagged:

    python -m esprit.demo.vlan team0 7 team0.7

It says `ready` when the interface is there, and ends with its input. The lower interface sees what
it would see from the kernel's own VLAN interface: tagged frames with finished checksums.
"""

import contextlib
import ctypes
import fcntl
import os
import select
import socket
import struct
import sys

#: linux/if_tun.h.
TUNSETIFF = 0x400454CA
IFF_TAP_NO_PI = 0x0002 | 0x1000
#: linux/if_packet.h: options of packet sockets, and what stands beside a received frame.
SOL_PACKET = 263
PACKET_AUXDATA = 8
PACKET_IGNORE_OUTGOING = 23
AUXDATA = struct.Struct("=IIIHHHH")
#: linux/if_ether.h.
ETH_P_ALL = 0x0003
ETH_P_8021Q = 0x8100
ADDRESSES_LEN = 12
#: asm-generic/socket.h.
SO_ATTACH_FILTER = 26
#: A frame of the largest MTU that a TAP takes, with its headers.
LARGEST = 65536
#: Frames moved in one direction before the other is looked at.
BATCH = 64


class _Program(ctypes.Structure):
    """struct sock_fprog of linux/filter.h."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _only_tagged(lower: socket.socket) -> None:
    """Lets the kernel pass up frames with a tag alone: the rest is not for us, and is much more."""
    # Loads from SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT; classic BPF of linux/filter.h.
    code = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (0x20, 0, 0, 0xFFFFF000 + 48),  # A = whether a tag was stripped
            (0x15, 0, 1, 1),  # not: to the last
            (0x06, 0, 0, LARGEST),  # take it
            (0x06, 0, 0, 0),  # leave it
        )
    )
    buffer = ctypes.create_string_buffer(code)
    program = _Program(len(code) // 8, ctypes.addressof(buffer))
    lower.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, bytes(program))


def _tap(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("=16sH22x", name.encode(), IFF_TAP_NO_PI))
    return descriptor


def _lower(name: str) -> socket.socket:
    # Bound to nothing until the filter stands, so nothing else is ever queued.
    lower = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    lower.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    lower.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    _only_tagged(lower)
    lower.bind((name, ETH_P_ALL))
    return lower


def _down(tap: int, lower: socket.socket, vlan: int) -> None:
    """Frames of the upper interface, with the tag."""
    tag = struct.pack(">HH", ETH_P_8021Q, vlan)
    for _ in range(BATCH):
        frame = os.read(tap, LARGEST)
        # What the lower interface will not take is lost, as on any wire.
        with contextlib.suppress(OSError):
            lower.send(frame[:ADDRESSES_LEN] + tag + frame[ADDRESSES_LEN:])


def _up(tap: int, lower: socket.socket, vlan: int) -> None:
    """Frames that came with the tag, without it: the kernel has taken it out already."""
    for _ in range(BATCH):
        frame, beside, _, _ = lower.recvmsg(LARGEST, socket.CMSG_SPACE(AUXDATA.size))
        for level, kind, data in beside:
            if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                *_, tci, _ = AUXDATA.unpack(data[: AUXDATA.size])
                if tci & 0xFFF == vlan:
                    with contextlib.suppress(OSError):
                        os.write(tap, frame)


def main() -> None:
    """Relays until the input ends."""
    below, vlan, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    tap, lower = _tap(name), _lower(below)
    print("ready", flush=True)
    poll = select.poll()
    for descriptor in (tap, lower.fileno(), sys.stdin.fileno()):
        poll.register(descriptor, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == sys.stdin.fileno():
                return
            with contextlib.suppress(BlockingIOError):
                (_down if descriptor == tap else _up)(tap, lower, vlan)


if __name__ == "__main__":
    main()

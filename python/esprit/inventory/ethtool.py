"""What ``ethtool -k`` and ``ethtool`` say of an interface, through ethtool netlink.

One question, one answer, on a socket of its own: the kernel answers while it is asked, so nobody
waits, whether an event loop runs or not. pyroute2 speaks ethtool netlink too, but has no message
for features, and its blocking sockets refuse to work beside a loop that runs.

Every kernel that a team runs on has these messages (FEATURES_GET since 5.7, the README asks for
6.2) unless it was built without CONFIG_ETHTOOL_NETLINK; there every question is an OSError.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

# include/uapi/linux/netlink.h
_NETLINK_GENERIC: Final = 16
_NLMSG_ERROR: Final = 2
_NLM_F_REQUEST: Final = 1
_NLM_F_ACK: Final = 4
_NLA_F_NESTED: Final = 0x8000
_NLA_TYPE_MASK: Final = 0x3FFF

# include/uapi/linux/genetlink.h
_GENL_ID_CTRL: Final = 0x10
_CTRL_CMD_GETFAMILY: Final = 3
_CTRL_ATTR_FAMILY_ID: Final = 1
_CTRL_ATTR_FAMILY_NAME: Final = 2

# include/uapi/linux/ethtool_netlink.h. Each message's header is its attribute 1.
_LINKMODES_GET: Final = 4
_FEATURES_GET: Final = 11
_FEATURES_SET: Final = 12
_A_HEADER: Final = 1
_A_HEADER_DEV_NAME: Final = 2
_A_HEADER_FLAGS: Final = 3
_FLAG_OMIT_REPLY: Final = 2
_A_LINKMODES_SPEED: Final = 5
_A_FEATURES_HW: Final = 2
_A_FEATURES_WANTED: Final = 3
_A_FEATURES_ACTIVE: Final = 4
_A_FEATURES_NOCHANGE: Final = 5
_A_BITSET_NOMASK: Final = 1
_A_BITSET_BITS: Final = 3
_A_BITSET_BITS_BIT: Final = 1
_A_BITSET_BIT_NAME: Final = 2
_A_BITSET_BIT_VALUE: Final = 3

#: Some 70 features by name in up to four sets, 50 bytes each, and as much again.
_ANSWER_BYTES: Final = 1 << 15

# What SPEED_UNKNOWN is as an unsigned number; some drivers say 0 or 65535 while the link is down.
_NO_SPEED: Final = (0, 0xFFFF, 0xFFFFFFFF)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offload:
    """A feature of an interface.

    Attributes:
        advertised: The driver has it, on or off.
        active: It is on.
        changeable: It can be switched.
    """

    advertised: bool
    active: bool
    changeable: bool


def features(interface: str) -> dict[str, Offload]:
    """Each feature of ``ethtool -k`` by the kernel's name for it.

    Raises:
        OSError: there is no such interface, or the kernel has no ethtool netlink.
    """
    sets: dict[int, tuple[frozenset[str], frozenset[str]]] = {}
    for kind, body in _asked(_FEATURES_GET, interface):
        if kind in (_A_FEATURES_HW, _A_FEATURES_ACTIVE, _A_FEATURES_NOCHANGE):
            sets[kind] = _bitset(body)
    nothing: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
    # All names stand with what the hardware has, for that set has the mask of all.
    names, hardware = sets.get(_A_FEATURES_HW, nothing)
    _, active = sets.get(_A_FEATURES_ACTIVE, nothing)
    _, fixed = sets.get(_A_FEATURES_NOCHANGE, nothing)
    return {
        name: Offload(
            # What is on and cannot be switched is there all the same.
            advertised=name in hardware or name in active,
            active=name in active,
            changeable=name in hardware and name not in fixed,
        )
        for name in sorted(names | active)
    }


def set_feature(interface: str, name: str, *, on: bool) -> None:
    """Switch one feature. A driver may leave it as it is; :func:`features` tells.

    Raises:
        OSError: the interface is gone, the kernel has no such feature, or the driver refuses.
    """
    bit = _attribute(_A_BITSET_BIT_NAME, name.encode() + b"\0")
    bit += _attribute(_A_BITSET_BIT_VALUE, b"") if on else b""
    bits = _nested(_A_BITSET_BITS, _nested(_A_BITSET_BITS_BIT, bit))
    _asked(_FEATURES_SET, interface, _nested(_A_FEATURES_WANTED, bits), flags=_FLAG_OMIT_REPLY)


def speed(interface: str) -> int | None:
    """The link's speed in Mbit/s; none where the driver or the link does not say."""
    try:
        found = dict(_asked(_LINKMODES_GET, interface)).get(_A_LINKMODES_SPEED)
    except OSError:
        return None
    value = None if found is None else int(struct.unpack("=I", found)[0])
    return None if value in _NO_SPEED else value


def _asked(
    command: int, interface: str, more: bytes = b"", *, flags: int = 0
) -> list[tuple[int, bytes]]:
    """The attributes of the answer to a question about an interface."""
    header = _attribute(_A_HEADER_DEV_NAME, interface.encode() + b"\0")
    if flags:
        header += _attribute(_A_HEADER_FLAGS, struct.pack("=I", flags))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_GENERIC) as asking:
        family = _family()
        return _exchange(asking, family, command, _nested(_A_HEADER, header) + more)


@cache
def _family() -> int:
    """The number that the kernel gave the family, which stays until the next boot."""
    name = _attribute(_CTRL_ATTR_FAMILY_NAME, b"ethtool\0")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_GENERIC) as asking:
        found = dict(_exchange(asking, _GENL_ID_CTRL, _CTRL_CMD_GETFAMILY, name))
    return int(struct.unpack("=H", found[_CTRL_ATTR_FAMILY_ID])[0])


def _exchange(
    asking: socket.socket, family: int, command: int, body: bytes
) -> list[tuple[int, bytes]]:
    """Send one message; returns the attributes of what came before its acknowledgement."""
    generic = struct.pack("=BBH", command, 1, 0) + body
    flags = _NLM_F_REQUEST | _NLM_F_ACK
    asking.send(struct.pack("=IHHII", 16 + len(generic), family, flags, 1, 0) + generic)
    found: list[tuple[int, bytes]] = []
    while True:
        data = asking.recv(_ANSWER_BYTES)
        while data:
            length, kind = struct.unpack_from("=IH", data)
            payload, data = data[16:length], data[(length + 3) & ~3 :]
            if kind == _NLMSG_ERROR:
                number = -int(struct.unpack_from("=i", payload)[0])
                if number:
                    # Of a family that does not exist it says ENOENT, as of a file.
                    number = errno.EOPNOTSUPP if number == errno.ENOENT else number
                    raise OSError(number, os.strerror(number))
                return found
            found = list(_attributes(payload[4:]))


def _bitset(body: bytes) -> tuple[frozenset[str], frozenset[str]]:
    """The names that a bitset speaks of, and those that are set."""
    parts = dict(_attributes(body))
    named, on = set(), set()
    for _, bit in _attributes(parts.get(_A_BITSET_BITS, b"")):
        known = dict(_attributes(bit))
        name = known[_A_BITSET_BIT_NAME].rstrip(b"\0").decode()
        named.add(name)
        # Without a mask what is listed is set.
        if _A_BITSET_BIT_VALUE in known or _A_BITSET_NOMASK in parts:
            on.add(name)
    return frozenset(named), frozenset(on)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield kind & _NLA_TYPE_MASK, data[4:length]
        data = data[(length + 3) & ~3 :]


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _nested(kind: int, value: bytes) -> bytes:
    return _attribute(kind | _NLA_F_NESTED, value)

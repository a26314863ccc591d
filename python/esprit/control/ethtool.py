"""A member's receive offloads, through the ethtool ioctl.

LRO is off because its merged frames cannot be taken apart again. GRO is on because a veth
or NIC that merges frames saves two thirds of the receive cost, and the virtio-net header
describes what it merged. UDP GRO forwarding does the same for ESP in UDP, which the host's
own sockets never asked for.
"""

import ctypes
import errno
import fcntl
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from pyroute2.ethtool.ioctl import EthtoolError, IoctlEthtool, NoSuchDevice

#: SPEED_UNKNOWN of include/uapi/linux/ethtool.h, as the kernel's 32 bits have it.
SPEED_UNKNOWN = 0xFFFFFFFF
# include/uapi/linux/ethtool.h and sockios.h: struct ethtool_drvinfo holds the command, then
# driver, version and firmware version, 32 bytes each.
_SIOCETHTOOL = 0x8946
_ETHTOOL_GDRVINFO = 0x00000003
_DRVINFO_SIZE = 196
_FIRMWARE = slice(4 + 32 + 32, 4 + 32 + 32 + 32)

# Feature to the value that a member wants, in the order in which they are set.
MEMBER_FEATURES: tuple[tuple[str, bool], ...] = (
    ("rx-lro", False),
    ("rx-gro", True),
    ("rx-udp-gro-forwarding", True),
)


@contextmanager
def _asking(interface: str) -> Iterator[IoctlEthtool]:
    """An interface to be asked; what its driver does not know is an :class:`OSError` too."""
    ethtool = IoctlEthtool(interface)
    try:
        yield ethtool
    except NoSuchDevice as error:
        raise OSError(errno.ENODEV, "No such device") from error
    except EthtoolError as error:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported") from error
    finally:
        ethtool.close()


def features(interface: str) -> dict[str, tuple[bool, bool]]:
    """Each feature's name with whether it is on and whether it can be changed.

    Raises:
        OSError: the interface does not answer.
    """
    with _asking(interface) as ethtool:
        found = ethtool.get_features()
        return {
            str(name): (bool(on), bool(changeable) and not found.is_never_changed(name))
            for name, on, changeable, _, _ in found
            if name
        }


def speed(interface: str) -> int | None:
    """The link's speed in Mbit/s; none where the driver or the link does not say."""
    try:
        with _asking(interface) as ethtool:
            found = int(ethtool.get_link_settings().speed)
    except OSError:
        return None
    return found if 0 < found < SPEED_UNKNOWN else None


def firmware(interface: str) -> str | None:
    """The firmware's version, as ``ethtool -i`` has it; none where the driver does not say."""
    request = bytearray(_DRVINFO_SIZE)
    struct.pack_into("I", request, 0, _ETHTOOL_GDRVINFO)
    buffer = (ctypes.c_char * _DRVINFO_SIZE).from_buffer(request)
    asked = struct.pack("16sP16x", interface.encode(), ctypes.addressof(buffer))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            fcntl.ioctl(control, _SIOCETHTOOL, asked)
        except OSError:
            return None
    text = bytes(buffer)[_FIRMWARE].partition(b"\0")[0].decode(errors="replace").strip()
    return text if text not in ("", "N/A") else None


def wanted_changes(interface: str) -> list[tuple[str, bool]]:
    """The features to be set on a member, with their new value: what differs and can change."""
    try:
        present = features(interface)
    except OSError:
        return []
    return [
        (name, value)
        for name, value in MEMBER_FEATURES
        if name in present and present[name] == (not value, True)
    ]


def set_feature(interface: str, name: str, *, on: bool) -> None:
    """Switch one feature.

    Raises:
        OSError: the interface is gone, or the driver refuses.
    """
    with _asking(interface) as ethtool:
        found = ethtool.get_features()
        if name not in found:
            return
        found.set_value(name, on)
        ethtool.set_features(found)

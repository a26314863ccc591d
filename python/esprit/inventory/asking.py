"""What the kernel says of an interface: sysfs, ethtool by netlink, and by ioctl what that lacks."""

import ctypes
import fcntl
import socket
from pathlib import Path
from typing import Final

from esprit.inventory import ethtool
from esprit.inventory.features import Column, columns

SYSFS: Final = Path("/sys/class/net")

# include/uapi/linux/sockios.h, ethtool.h
_SIOCETHTOOL: Final = 0x8946
_GDRVINFO: Final = 0x3
_IFNAMSIZ: Final = 16


class _DrvInfo(ctypes.Structure):
    """``struct ethtool_drvinfo``: netlink has no message for the driver and its firmware."""

    _fields_ = (
        ("cmd", ctypes.c_uint32),
        ("driver", ctypes.c_char * 32),
        ("version", ctypes.c_char * 32),
        ("fw_version", ctypes.c_char * 32),
        ("bus_info", ctypes.c_char * 32),
        ("erom_version", ctypes.c_char * 32),
        ("reserved2", ctypes.c_char * 12),
        ("n_priv_flags", ctypes.c_uint32),
        ("n_stats", ctypes.c_uint32),
        ("testinfo_len", ctypes.c_uint32),
        ("eedump_len", ctypes.c_uint32),
        ("regdump_len", ctypes.c_uint32),
    )


class _IfReq(ctypes.Structure):
    """``struct ifreq`` with a pointer, padded to its 40 bytes."""

    _fields_ = (
        ("name", ctypes.c_char * _IFNAMSIZ),
        ("data", ctypes.c_void_p),
        ("pad", ctypes.c_char * 16),
    )


class Asking:
    """Answers from the kernel of this network namespace."""

    def driver(self, interface: str) -> dict[str, str]:
        """``driver``, ``firmware`` and ``bus``, as far as the driver says them."""
        info = _DrvInfo(cmd=_GDRVINFO)
        request = _IfReq(name=interface.encode(), data=ctypes.addressof(info))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            try:
                fcntl.ioctl(asked, _SIOCETHTOOL, request)
            except OSError:
                return {}
        said = {"driver": info.driver, "firmware": info.fw_version, "bus": info.bus_info}
        texts = {name: value.decode(errors="replace").strip() for name, value in said.items()}
        return {name: text for name, text in texts.items() if text not in ("", "N/A")}

    def features(self, interface: str) -> dict[str, Column]:
        """Each feature of ``ethtool -k``: whether the driver has it, and whether it is on."""
        try:
            return columns(ethtool.features(interface))
        except OSError:
            return {}

    def speed(self, interface: str) -> int | None:
        """Megabits per second; None where the link does not say."""
        return ethtool.speed(interface)


def read(path: Path) -> str | None:
    """A line of sysfs; None where the device does not say."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip() or None
    except OSError:
        return None

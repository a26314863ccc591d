"""What the kernel says of an interface: sysfs, ethtool by netlink, and by ioctl what that lacks."""

import ctypes
import fcntl
import socket
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pyroute2.ethtool.ioctl import IoctlEthtool
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic.ethtool import AsyncNlEthtool

from esprit.inventory.features import Column

SYSFS: Final = Path("/sys/class/net")

# include/uapi/linux/sockios.h, ethtool.h
_SIOCETHTOOL: Final = 0x8946
_GDRVINFO: Final = 0x3
_IFNAMSIZ: Final = 16

# What SPEED_UNKNOWN is as an unsigned number; some drivers say 0 or 65535 while the link is down.
_NO_SPEED: Final = (0, 0xFFFF, 0xFFFFFFFF)


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
    """The sockets that questions about interfaces go by; ``async with`` opens and closes them."""

    def __init__(self) -> None:
        self._netlink: AsyncNlEthtool | None = None

    async def __aenter__(self) -> Self:
        netlink = AsyncNlEthtool()
        # Kernels since 5.6 have the family; sysfs has the speed where one has not.
        if await netlink.is_nlethtool_in_kernel():
            self._netlink = netlink
        else:
            netlink.close()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._netlink is not None:
            self._netlink.close()

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
            ethtool = IoctlEthtool(interface)
        except OSError:
            return {}
        try:
            found = ethtool.get_features()
            return {
                str(name): Column(
                    # What is on and cannot be switched is there all the same.
                    advertised=bool(found.is_available(name) or found.is_active(name)),
                    accepted=bool(found.is_active(name)),
                )
                for name in found.keys()  # noqa: SIM118 - iteration gives more than keys
                if name
            }
        except OSError:
            return {}
        finally:
            ethtool.close()

    async def speed(self, interface: str) -> int | None:
        """Megabits per second; None where the link does not say."""
        if self._netlink is None:
            text = read(SYSFS / interface / "speed")
            return int(text) if text is not None and text.isdecimal() and int(text) else None
        with suppress(NetlinkError, OSError):
            async for answer in await self._netlink.get_linkmode(interface):
                speed = answer.get_attr("ETHTOOL_A_LINKMODES_SPEED")
                if isinstance(speed, int) and speed not in _NO_SPEED:
                    return speed
        return None


def read(path: Path) -> str | None:
    """A line of sysfs; None where the device does not say."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip() or None
    except OSError:
        return None

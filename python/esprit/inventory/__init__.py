"""The host's interfaces: what they are, what they advertise, whether a team would take them.

What a driver advertises is not what it does; an engine counts only after its test. This is
the first form: no rules on vendors and firmware yet.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from esprit.control import ethtool
from esprit.control.checks import check_member
from esprit.errors import InterfaceError

if TYPE_CHECKING:
    from esprit.control.netlink import Link, Netlink

#: What is of interest to a team, as ``ethtool -k`` calls it.
OF_INTEREST = (
    "esp-hw-offload",
    "tx-esp-segmentation",
    "tx-tcp-segmentation",
    "tx-udp-segmentation",
    "rx-gro",
    "rx-udp-gro-forwarding",
)

_SYSFS = Path("/sys/class/net")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """One interface.

    Attributes:
        driver: The kernel's driver, or the kind of a virtual interface.
        vendor, device, subsystem: PCI identifiers as sysfs has them, for instance ``0x8086``.
        speed: Megabits per second, where the link says so.
        offloads: Of :data:`OF_INTEREST`, those that are on.
        refusal: Why a team would not take it; empty if it would.
        remedy: What could be done about that.
    """

    name: str
    driver: str
    vendor: str | None
    device: str | None
    subsystem: str | None
    revision: str | None
    mac: str
    mtu: int
    up: bool
    carrier: bool
    speed: int | None
    offloads: tuple[str, ...]
    refusal: str
    remedy: str


async def interfaces(netlink: Netlink) -> list[Interface]:
    """Every interface of this network namespace but the loopback."""
    return [await _identify(netlink, link) for link in await netlink.links() if not link.loopback]


async def _identify(netlink: Netlink, link: Link) -> Interface:
    refusal = remedy = ""
    try:
        await check_member(netlink, link.name)
    except InterfaceError as error:
        refusal, remedy = error.message, error.remedy
    offloads: tuple[str, ...] = ()
    with contextlib.suppress(OSError):
        found = ethtool.features(link.name)
        offloads = tuple(name for name in OF_INTEREST if name in found and found[name][0])
    folder = _SYSFS / link.name / "device"
    vendor, device = _read(folder / "vendor"), _read(folder / "device")
    parts = _read(folder / "subsystem_vendor"), _read(folder / "subsystem_device")
    speed = _read(_SYSFS / link.name / "speed")
    driver = folder / "driver"
    return Interface(
        name=link.name,
        driver=driver.resolve().name if driver.exists() else link.kind or "unknown",
        vendor=vendor,
        device=device,
        subsystem=f"{parts[0]}:{parts[1]}" if all(parts) else None,
        revision=_read(folder / "revision"),
        mac=link.mac,
        mtu=link.mtu,
        up=link.up,
        carrier=link.carrier,
        speed=int(speed) if speed is not None and speed.isdecimal() else None,
        offloads=offloads,
        refusal=refusal,
        remedy=remedy,
    )


def _read(path: Path) -> str | None:
    """A line of sysfs; none where the device does not say, or the link is down."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip() or None
    except OSError:
        return None

"""Which interface is which: by what is burnt into it, not by a name that may change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from esprit.control.netlink import Link

_SYSFS = Path("/sys/class/net")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """By what an interface is known again.

    A NIC is known by the address that is burnt in, or else by its place on the bus and its
    driver. A virtual interface has neither and is known by its name and kind.
    """

    interface: str
    kind: str | None
    permanent: str | None
    bus: str | None
    driver: str | None

    def is_of(self, other: Mark) -> bool:
        """Whether both are the same device."""
        if self.permanent is not None or other.permanent is not None:
            return self.permanent == other.permanent
        if self.bus is not None or other.bus is not None:
            return (self.bus, self.driver) == (other.bus, other.driver)
        return (self.interface, self.kind) == (other.interface, other.kind)


def mark(link: Link) -> Mark:
    """By what this interface will be known again."""
    return Mark(
        interface=link.name,
        kind=link.kind,
        permanent=link.permanent,
        bus=link.bus,
        driver=driver(link.name) if link.bus is not None else None,
    )


def driver(interface: str) -> str | None:
    """The kernel's driver; none for a virtual interface."""
    path = _SYSFS / interface / "device" / "driver"
    return path.resolve().name if path.exists() else None

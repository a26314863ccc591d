"""Which interface is which: by what is burnt into it, not by a name that may change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from esprit.control import ethtool

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What rules on interfaces are matched against; None where the interface does not say."""

    interface: str
    kind: str | None = None
    driver: str | None = None
    bus: str | None = None
    vendor: str | None = None
    device: str | None = None
    subsystem: str | None = None
    revision: str | None = None
    firmware: str | None = None


def identity(link: Link) -> Identity:
    """What an interface is, from sysfs and its driver."""
    folder = _SYSFS / link.name / "device"
    parts = _read(folder / "subsystem_vendor"), _read(folder / "subsystem_device")
    return Identity(
        interface=link.name,
        kind=link.kind or "physical",
        driver=driver(link.name) or link.kind,
        bus=link.bus,
        vendor=_read(folder / "vendor"),
        device=_read(folder / "device"),
        subsystem=f"{parts[0]}:{parts[1]}" if all(parts) else None,
        revision=_read(folder / "revision"),
        firmware=ethtool.firmware(link.name),
    )


def refusal(
    found: Identity, allow: Sequence[Mapping[str, str]], deny: Sequence[Mapping[str, str]]
) -> str | None:
    """Why a team's rules do not take this interface; none if they do.

    A rule matches if all its patterns do; a field that does not exist matches only ``*``.
    """
    for rule in deny:
        if _matches(found, rule):
            return f"is denied by deny = {_said(rule)}"
    if allow and not any(_matches(found, rule) for rule in allow):
        return "is allowed by no rule"
    return None


def _matches(found: Identity, rule: Mapping[str, str]) -> bool:
    for name, pattern in rule.items():
        value: str | None = getattr(found, name)
        if pattern != "*" and (value is None or not fnmatchcase(value, pattern)):
            return False
    return True


def _said(rule: Mapping[str, str]) -> str:
    return "{ " + ", ".join(f'{name} = "{pattern}"' for name, pattern in rule.items()) + " }"


def _read(path: Path) -> str | None:
    """A line of sysfs; none where the device does not say."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip() or None
    except OSError:
        return None

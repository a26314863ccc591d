"""The host's interfaces: what they are, what they can, and whether a team would take them.

Everything here only asks. A refused interface is as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from esprit.errors import InterfaceError
from esprit.inventory import engines as testing
from esprit.inventory.asking import SYSFS, Asking, read
from esprit.inventory.features import Column, of_interest
from esprit.inventory.rules import Identity, Rule, refusal

if TYPE_CHECKING:
    from esprit.control.netlink import Link, Netlink
    from esprit.model import EngineSpec

__all__ = ["Column", "Identity", "Interface", "Question", "identify", "interfaces", "refusal"]

#: What an operator does about a rule.
_RULE_REMEDY = "change the team's allow and deny rules, or leave the interface out"


class Asks(Protocol):
    """Answers questions about interfaces; :class:`esprit.inventory.asking.Asking` is the kernel."""

    def driver(self, interface: str) -> dict[str, str]:
        """``driver``, ``firmware`` and ``bus``, as far as they are known."""

    def features(self, interface: str) -> dict[str, Column]:
        """Every feature by its name."""

    def speed(self, interface: str) -> int | None:
        """Megabits per second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a team would want.

    Attributes:
        allow, deny: Its rules.
        engines: Its members' engines, by interface.
        verify: Test those engines.
    """

    allow: Sequence[Rule] = ()
    deny: Sequence[Rule] = ()
    engines: Mapping[str, EngineSpec] = field(default_factory=dict)
    verify: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """One interface.

    Attributes:
        speed: Megabits per second, where the link says so.
        features: By name, what is of interest to a team; with a team's config also what the
            member's engine does.
        simulated: That engine imitates a device that is not there.
        refusal: Why a team would not take it; empty if it would.
        remedy: What could be done about that.
    """

    identity: Identity
    name: str
    mac: str
    mtu: int
    up: bool
    carrier: bool
    speed: int | None
    features: Mapping[str, Column]
    simulated: bool
    refusal: str
    remedy: str


async def interfaces(netlink: Netlink, question: Question | None = None) -> list[Interface]:
    """Every interface of this network namespace but the loopback."""
    wanted = question or Question()
    asks = Asking()
    return [
        await _look(netlink, link, asks, wanted)
        for link in await netlink.links()
        if not link.loopback
    ]


async def _look(netlink: Netlink, link: Link, asks: Asks, wanted: Question) -> Interface:
    found = identify(link, asks)
    why, remedy = await _verdict(netlink, found, link.name, wanted)
    engine = wanted.engines.get(link.name)
    features = of_interest(asks.features(link.name))
    if engine is not None:
        features |= testing.proved(engine) if wanted.verify else testing.declared(engine)
    return Interface(
        identity=found,
        name=link.name,
        mac=link.mac,
        mtu=link.mtu,
        up=link.up,
        carrier=link.carrier,
        speed=asks.speed(link.name),
        features=features,
        simulated=engine is not None and engine.simulated,
        refusal=why,
        remedy=remedy,
    )


async def _verdict(
    netlink: Netlink, found: Identity, name: str, wanted: Question
) -> tuple[str, str]:
    # The control plane asks the rules here, so it is not loaded before it asks.
    from esprit.control.checks import check_member

    ruled = refusal(found, wanted.allow, wanted.deny)
    if ruled is not None:
        return ruled, _RULE_REMEDY
    try:
        await check_member(netlink, name)
    except InterfaceError as error:
        return error.message, error.remedy
    return "", ""


def identify(link: Link, asks: Asks, *, sysfs: Path = SYSFS) -> Identity:
    """What an interface is, from its driver and from sysfs."""
    told = asks.driver(link.name)
    folder = sysfs / link.name
    # Where sysfs was mounted in another network namespace, a folder of that name is another's.
    same = (read(folder / "ifindex"), read(folder / "address")) == (str(link.index), link.mac)
    device = folder / "device" if same else Path("/nonexistent")
    board = read(device / "subsystem_vendor"), read(device / "subsystem_device")
    driver = device / "driver"
    return Identity(
        interface=link.name,
        # Physical interfaces have no kind in rtnetlink.
        kind=link.kind or "physical",
        driver=told.get("driver") or (driver.resolve().name if driver.exists() else link.kind),
        bus=told.get("bus") or (device.resolve().name if device.exists() else None),
        vendor=read(device / "vendor"),
        device=read(device / "device"),
        subsystem=f"{board[0]}:{board[1]}" if all(board) else None,
        revision=read(device / "revision"),
        firmware=told.get("firmware"),
    )

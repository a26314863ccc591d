"""``esprit inventory``: every interface, its three columns, and the verdict."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from esprit import config
from esprit.cli import render
from esprit.control.netlink import Netlink
from esprit.inventory import Interface, Question, interfaces


class FeatureColumns(TypedDict):
    """One feature of an interface; ``verified`` is null where no test was made."""

    advertised: bool
    accepted: bool
    verified: bool | None


class InterfaceResource(TypedDict):
    """An interface of the host; ``refusal`` is empty if a team would take it."""

    ifname: str
    kind: str | None
    driver: str | None
    bus: str | None
    vendor: str | None
    device: str | None
    subsystem: str | None
    revision: str | None
    firmware: str | None
    address: str
    mtu: int
    operstate: str
    speed: int | None
    features: dict[str, FeatureColumns]
    simulated: bool
    verdict: str
    refusal: str
    remedy: str


async def seen(file: Path | None, *, verify: bool) -> list[InterfaceResource]:
    """Return what the interfaces of this network namespace are, for the team of ``file``."""
    question = Question() if file is None else _question(file, verify=verify)
    async with Netlink() as netlink:
        return [_resource(found) for found in await interfaces(netlink, question)]


def _question(file: Path, *, verify: bool) -> Question:
    wanted = config.load(file)
    return Question(
        allow=getattr(wanted.team, "allow", ()),
        deny=getattr(wanted.team, "deny", ()),
        engines={m.interface: m.engine for m in wanted.members if m.engine is not None},
        verify=verify,
    )


def _resource(found: Interface) -> InterfaceResource:
    identity = found.identity
    return {
        "ifname": found.name,
        "kind": identity.kind,
        "driver": identity.driver,
        "bus": identity.bus,
        "vendor": identity.vendor,
        "device": identity.device,
        "subsystem": identity.subsystem,
        "revision": identity.revision,
        "firmware": identity.firmware,
        "address": found.mac,
        "mtu": found.mtu,
        "operstate": "UP" if found.up and found.carrier else "DOWN",
        "speed": found.speed,
        "features": {
            name: {
                "advertised": column.advertised,
                "accepted": column.accepted,
                "verified": column.verified,
            }
            for name, column in found.features.items()
        },
        "simulated": found.simulated,
        "verdict": "refuse" if found.refusal else "take",
        "refusal": found.refusal,
        "remedy": found.remedy,
    }


def show(found: Sequence[InterfaceResource]) -> None:
    """Print interfaces: a line of what each is, the verdict, and the columns."""
    for at, one in enumerate(found):
        if at:
            print()
        speed = "" if one["speed"] is None else f", {one['speed']} Mbit/s"
        print(f"{one['ifname']}: {_said(one)}; {one['operstate']}, mtu {one['mtu']}{speed}")
        if one["refusal"]:
            print(f"    a team would not take it: {one['refusal']}; {one['remedy']}")
        else:
            print("    a team would take it")
        if one["simulated"]:
            print("    its engine is simulated")
        rows = [
            (f"    {name}", _yes(c["advertised"]), _yes(c["accepted"]), _yes(c["verified"]))
            for name, c in one["features"].items()
            if c["advertised"] or c["accepted"]
        ]
        if rows:
            render.table(("    feature", "advertised", "accepted", "verified"), rows)


def _said(one: InterfaceResource) -> str:
    words = [f"{one['kind']}, driver {one['driver'] or 'unknown'}"]
    if one["vendor"] is not None:
        words.append(f"device {one['vendor']}:{one['device']}")
    for name in ("subsystem", "revision", "firmware", "bus"):
        value = one[name]
        if value is not None:
            words.append(f"{name} {value}")
    return ", ".join(words)


def _yes(value: bool | None) -> str:
    return "not tested" if value is None else "yes" if value else "no"

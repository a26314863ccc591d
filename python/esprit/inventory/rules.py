"""Which interfaces a team may take: allow and deny rules over what an interface is.

A rule is a table of patterns, one for a field of :class:`Identity`; it matches if all of them
do. A field that does not exist matches only ``*``, so that a rule on firmware never lets in
what says nothing of its firmware. What is denied is refused even if it is allowed as well, and
without any allow rule everything is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase

#: Patterns by field.
Rule = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What an interface is; None where it does not say.

    Attributes:
        interface: Its name.
        kind: ``physical``, or what kind of virtual interface it is, such as ``veth``.
        driver: The kernel's driver.
        bus: Its place on its bus, such as ``0000:00:03.0``.
        vendor, device, revision: PCI identifiers, such as ``0x8086``.
        subsystem: Vendor and device of the board, ``0x8086:0x0001``.
        firmware: Its version.
    """

    interface: str | None = None
    kind: str | None = None
    driver: str | None = None
    bus: str | None = None
    vendor: str | None = None
    device: str | None = None
    subsystem: str | None = None
    revision: str | None = None
    firmware: str | None = None


#: What a rule may name.
FIELDS = tuple(field.name for field in fields(Identity))


def refusal(identity: Identity, allow: Sequence[Rule], deny: Sequence[Rule]) -> str | None:
    """Why these rules do not let a team take an interface; None if they do."""
    for rule in deny:
        if matches(rule, identity):
            return f"is denied by deny = {said(rule)}"
    if allow and not any(matches(rule, identity) for rule in allow):
        return "is allowed by no rule"
    return None


def matches(rule: Rule, identity: Identity) -> bool:
    """Whether all patterns of a rule match; an unknown field matches nothing.

    A rule without patterns matches nothing either: nobody means everything by saying nothing.
    """
    return bool(rule) and all(_matches(identity, name, glob) for name, glob in rule.items())


def _matches(identity: Identity, name: str, pattern: str) -> bool:
    if name not in FIELDS:
        return False
    value: str | None = getattr(identity, name)
    if value is None:
        return pattern == "*"
    return fnmatchcase(value, pattern)


def said(rule: Rule) -> str:
    """A rule as the config has it."""
    return "{ " + ", ".join(f'{name} = "{pattern}"' for name, pattern in rule.items()) + " }"

"""What changed between two configurations of a team."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Generic, TypeVar

from esprit.model.security import Policy, SecurityAssociation
from esprit.model.spec import EngineSpec, MemberSpec, TeamConfig

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Generic[T]):
    """Objects of one kind: new ones, old ones, and pairs (old, new) of one name."""

    added: tuple[T, ...] = ()
    removed: tuple[T, ...] = ()
    changed: tuple[tuple[T, T], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What leads from one configuration to another.

    Attributes:
        settings: Names of the team's settings that differ, as :class:`TeamSpec` has them.
        engines: Engines of no member. A member whose engine differs is a changed member.
        reordered: The policies of both have another order.
    """

    settings: tuple[str, ...]
    members: Change[MemberSpec]
    engines: Change[EngineSpec]
    sas: Change[SecurityAssociation]
    policies: Change[Policy]
    reordered: bool

    def __bool__(self) -> bool:
        return bool(
            self.settings
            or self.members
            or self.engines
            or self.sas
            or self.policies
            or self.reordered
        )


def diff(old: TeamConfig, new: TeamConfig) -> Difference:
    """What leads from ``old`` to ``new``. Keys are compared, and not shown."""
    before = [policy.name for policy in old.policies]
    after = [policy.name for policy in new.policies]
    return Difference(
        settings=tuple(
            field.name
            for field in fields(new.team)
            if getattr(old.team, field.name) != getattr(new.team, field.name)
        ),
        members=_change(old.members, new.members, lambda member: member.interface),
        engines=_change(old.engines, new.engines, lambda engine: engine.name),
        sas=_change(old.sas, new.sas, lambda sa: sa.name),
        policies=_change(old.policies, new.policies, lambda policy: policy.name),
        reordered=[name for name in before if name in after]
        != [name for name in after if name in before],
    )


def _change(old: Iterable[T], new: Iterable[T], name: Callable[[T], str]) -> Change[T]:
    before = {name(item): item for item in old}
    after = {name(item): item for item in new}
    return Change(
        added=tuple(item for key, item in after.items() if key not in before),
        removed=tuple(item for key, item in before.items() if key not in after),
        changed=tuple(
            (before[key], item)
            for key, item in after.items()
            if key in before and before[key] != item
        ),
    )

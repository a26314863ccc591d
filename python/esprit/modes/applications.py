"""What engines may do for applications: the pool is the host's, and so are its teams' Plans."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from esprit.model.plan import Grant, Plan
from esprit.modes.placement import SPILL

if TYPE_CHECKING:
    from esprit import _native as native


@dataclass(frozen=True, slots=True, kw_only=True)
class Applications:
    """What engines may do for applications' tasks of this process.

    Attributes:
        grants: The teams' own: to applications an engine belongs to nobody.
        verify_every: Of so many sealed jobs one is opened again: the strictest of the teams'.
    """

    grants: tuple[Grant, ...] = ()
    verify_every: int = 0

    def to_native(self) -> native.Grants:
        """The grants as :meth:`esprit._native.DataPlane.applications` takes them."""
        return {
            "engines": [
                {**grant.to_native(), "member": None, "primary": None, "secondary": None}
                for grant in self.grants
            ],
            "spill_ns": (SPILL.primary, SPILL.secondary, SPILL.application),
            "verify_every": self.verify_every,
        }


def applications(plans: Collection[Plan]) -> Applications:
    """What follows for applications from all teams' Plans.

    Where several teams name an engine, the one that puts it last knows best why: it is that
    team's member whose traffic the engine works for.
    """
    found: dict[int, Grant] = {}
    for plan in plans:
        for grant in plan.grants:
            if grant.application is None:
                continue
            before = found.get(grant.engine)
            if before is None or _standing(grant) > _standing(before):
                found[grant.engine] = grant
    every = [plan.verify_every for plan in plans if plan.verify_every]
    return Applications(
        grants=tuple(found[engine] for engine in sorted(found)),
        verify_every=min(every, default=0),
    )


def _standing(grant: Grant) -> tuple[int, bool, int]:
    return (grant.application or 0, grant.limit_ns is not None, grant.bias_ns)

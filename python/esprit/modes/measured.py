"""Running sums of the data plane as what happened since the last look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from esprit.model.event import LoadMeasured

if TYPE_CHECKING:
    from esprit import _native as native
    from esprit.model.state import TeamState


class Measured:
    """What a team's shares had carried when it was looked at last."""

    def __init__(self) -> None:
        self._sums: tuple[int, ...] = ()
        self._epoch = 0

    def look(
        self, loads: native.Loads, state: TeamState, speeds: Mapping[int, int | None]
    ) -> LoadMeasured:
        """What happened since the last call; ``speeds`` are what links say of themselves."""
        seen = loads["teams"].get(state.id)
        sums = tuple(seen["shares"]) if seen is not None else ()
        epoch = 0 if state.plan is None else state.plan.epoch
        # Sums of another table say nothing of this one; and they may have begun anew with it.
        known = self._epoch == epoch and len(sums) == len(self._sums)
        shares = (
            tuple(new - old for new, old in zip(sums, self._sums, strict=True)) if known else ()
        )
        self._sums, self._epoch = sums, epoch
        return LoadMeasured(
            time=loads["time"],
            shares=shares if all(share >= 0 for share in shares) else (),
            speeds=speeds,
            queued=frozenset(
                number
                for number, one in loads["members"].items()
                if one["team"] == state.id and one["queued"]
            ),
        )

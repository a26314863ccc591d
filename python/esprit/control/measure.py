"""What a team's members had to do in the last second, for the mode to weigh."""

from __future__ import annotations

from typing import TYPE_CHECKING

from esprit.control import ethtool
from esprit.model.event import Event, ForeignTried, LoadMeasured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from esprit._native import Snapshot
    from esprit.control.team import RunningTeam


class Measuring:
    """Turns the data plane's running sums into what happened since the last look."""

    def __init__(self, team: RunningTeam) -> None:
        self._team = team
        self._sums: tuple[int, ...] = ()
        self._epoch = 0

    def look(self, snapshot: Snapshot) -> Iterator[Event]:
        """What the snapshot tells, as events."""
        team = self._team
        for member in team.state.members:
            seen = snapshot["members"].get(member.id)
            if seen is not None and seen["foreign"] != member.foreign:
                yield ForeignTried(time=snapshot["time"], member=member.id, able=seen["foreign"])
        if team.state.mode == "balance-alb":
            yield self._load(snapshot)

    def _load(self, snapshot: Snapshot) -> LoadMeasured:
        team = self._team
        seen = snapshot["teams"].get(team.id)
        sums = tuple(seen["shares"]) if seen is not None else ()
        epoch = 0 if team.state.plan is None else team.state.plan.epoch
        # Sums of another table say nothing of this one; and they may have begun anew with it.
        known = self._epoch == epoch and len(sums) == len(self._sums)
        shares = (
            tuple(new - old for new, old in zip(sums, self._sums, strict=True)) if known else ()
        )
        self._sums, self._epoch = sums, epoch
        return LoadMeasured(
            time=snapshot["time"],
            shares=shares if all(share >= 0 for share in shares) else (),
            speeds={one.id: ethtool.speed(name) for name, one in team.members.items()},
            queued=frozenset(
                number
                for number, one in snapshot["members"].items()
                if one["team"] == team.id and one["queued"]
            ),
        )

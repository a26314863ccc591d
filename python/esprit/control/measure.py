"""What a team's members had to do in the last second, for the mode to weigh."""

from __future__ import annotations

from typing import TYPE_CHECKING

from esprit.control import ethtool
from esprit.model.event import Event, ForeignTried
from esprit.modes.measured import Measured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from esprit._native import Loads
    from esprit.control.team import RunningTeam


class Measuring:
    """Looks at a running team and its links."""

    def __init__(self, team: RunningTeam) -> None:
        self._team = team
        self._measured = Measured()

    def look(self, loads: Loads) -> Iterator[Event]:
        """What the data plane measured, as events."""
        team = self._team
        for member in team.state.members:
            seen = loads["members"].get(member.id)
            if seen is not None and seen["foreign"] != member.foreign:
                yield ForeignTried(time=loads["time"], member=member.id, able=seen["foreign"])
        if team.state.mode == "balance-alb":
            speeds = {one.id: ethtool.speed(name) for name, one in team.members.items()}
            yield self._measured.look(loads, team.state, speeds)

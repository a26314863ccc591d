"""A host in memory with a data plane in memory, for teams to run on."""

from dataclasses import dataclass, field

from tests.unit.fake_plane import FakePlane
from tests.unit.fake_system import FakeSystem

from esprit import config
from esprit.control.host import Host
from esprit.control.team import RunningTeam
from esprit.daemon.resources import EventResource

TEXT = """
[team]
name = "team0"
address = "10.0.0.1/24"
[[team.route]]
to = "10.1.0.0/16"
via = "10.0.0.2"
src = "10.0.0.1"
[[member]]
interface = "eth1"
engine = { kind = "asic", rate = "10G" }
[[member]]
interface = "eth2"
[[engine]]
name = "cores"
kind = "cpu"
[[policy]]
name = "p"
local = "10.0.0.0/24"
remote = "10.1.0.0/16"
[[sa]]
name = "out"
direction = "out"
spi = 4096
src = "10.0.0.1"
dst = "10.0.0.2"
encap = "udp"
key = "000102030405060708090a0b0c0d0e0f10111213"
[[sa]]
name = "in"
direction = "in"
spi = 4097
src = "10.0.0.2"
dst = "10.0.0.1"
encap = "udp"
key = "100102030405060708090a0b0c0d0e0f10111213"
"""


@dataclass
class Bench:
    system: FakeSystem
    plane: FakePlane
    host: Host
    events: list[EventResource] = field(default_factory=list)

    def team(self, text: str = TEXT) -> RunningTeam:
        return RunningTeam(self.host, config.read(text), self.events.append)

    async def started(self, text: str = TEXT) -> RunningTeam:
        team = self.team(text)
        await team.start(force=False)
        return team

    def kinds(self) -> list[object]:
        return [event["kind"] for event in self.events]

    def said(self, kind: str) -> list[EventResource]:
        """The events of one kind, without their time and team."""
        return [
            {key: value for key, value in event.items() if key not in ("time", "team", "kind")}
            for event in self.events
            if event["kind"] == kind
        ]

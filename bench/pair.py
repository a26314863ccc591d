"""Two teams, a learning switch between them, and everything that the trials do with them.

    left: team0 = eth1, eth2, ... ==== switch (learning bridge) ==== eth1 = team0 :right

It is the demonstration's laboratory with members, engines and policies of the trial's choosing.
"""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import esprit
from bench.counters import Counts, socket_drops, tap_drops
from bench.heard import Heard
from bench.lab import BenchError
from bench.tools import Numbered, Program, numbered
from esprit.demo.eavesdrop import Eavesdropper, Seen
from esprit.demo.keys import Connection, Keyring, Table
from esprit.demo.lab import Host, Lab, Switch
from esprit.demo.teams import ADDRESS, TEAM, RunningTeam, write_toml

#: UDP ports: what goes to `WARM` and `SECRET` is protected, what goes to `CLEAR` is let through.
WARM, SECRET, CLEAR = 7001, 7002, 7003
#: How long a first packet may take: the neighbours have to be found.
PATIENCE = 20.0
CORES: Table = {"name": "cores", "kind": "cpu", "threads": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one host's team is made of."""

    members: Sequence[Table] = ({"interface": "eth1"},)
    engines: Sequence[Table] = (CORES,)
    #: More keys of `[team]`.
    team: Mapping[str, object] = field(default_factory=dict)
    #: More tables, by their heads: `("[probe]", {...})`.
    tables: Sequence[tuple[str, Table]] = ()
    program: tuple[str, ...] = ("-m", "esprit")

    @property
    def interfaces(self) -> list[str]:
        """The members' names."""
        return [str(member["interface"]) for member in self.members]


@dataclass(slots=True, kw_only=True)
class Pair:
    """Two running teams, and the way to them."""

    hosts: dict[str, Host]
    switch: Switch
    left: esprit.Team
    right: esprit.Team
    teams: dict[str, RunningTeam]
    tools: Numbered
    #: What left's team reports.
    heard: Heard
    #: What every protected packet carries.
    needle: bytes
    folder: Path
    eavesdropper: Eavesdropper | None

    @property
    def sender(self) -> Host:
        """Left, which sends."""
        return self.hosts["left"]

    @property
    def receiver(self) -> Host:
        """Right, which receives."""
        return self.hosts["right"]

    def ifindex(self, interface: str) -> int:
        """The number of an interface of left's."""
        return int(self.sender.link(interface)["ifindex"])

    async def counts(self) -> Counts:
        """Both teams' counters, now."""
        await self.left.refresh()
        await self.right.refresh()
        return Counts.of(
            self.left,
            self.right,
            tap=await asyncio.to_thread(tap_drops, self.sender, TEAM),
            unread=await asyncio.to_thread(socket_drops, self.receiver),
        )

    async def pull(self, interface: str) -> None:
        """Pulls the cable of one of left's members."""
        await asyncio.to_thread(self.switch.pull, self.sender, interface)

    async def insert(self, interface: str) -> None:
        """Puts it back."""
        await asyncio.to_thread(self.switch.insert, self.sender, interface)

    def fix_neighbours(self) -> None:
        """Enters each host in the other's neighbour table for good.

        Under more load than a host carries, requests for its peer's address are lost as well, and
        while the address is not known the stack drops what it would send, before us and counted
        on no interface.
        """
        for role, other in (("left", "right"), ("right", "left")):
            mac = str(self.hosts[other].link(TEAM)["address"])
            entry = [ADDRESS[other], "lladdr", mac, "dev", TEAM, "nud", "permanent"]
            self.hosts[role].run("ip", "neigh", "replace", *entry)

    async def until_fit(self, interface: str, patience: float = 15.0) -> None:
        """Waits until a member of left's is up, hears, and could take over.

        Raises:
            BenchError: it is not in time.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + patience
        while True:
            await self.left.refresh()
            member = self.left.members[interface]
            hears = bool(dict(member.resource).get("heard", True))
            if member.role in ("waiting", "active") and hears:
                return
            if loop.time() > end:
                raise BenchError(f"{interface} is {member.role}{'' if hears else ', and deaf'}")
            await asyncio.sleep(0.02)

    async def reach(self, port: int = WARM) -> None:
        """Sends until something arrives: neighbours are found and SAs in place.

        Raises:
            BenchError: nothing arrived in time.
        """
        receiver = await self.tools.receive(self.receiver, port)
        sender = await self.tools.send(
            self.sender, ADDRESS["right"], port, rate=50, size=64, tick_us=20_000
        )
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        while (await receiver.ask("count"))["received"] == 0:
            if loop.time() > end:
                raise BenchError("nothing passes from left to right")
            await asyncio.sleep(0.05)
        await sender.finish()
        await rest(receiver)
        await receiver.finish()

    async def overheard(self) -> dict[str, Seen]:
        """Ends the eavesdropping and tells what passed each port; nothing if nobody listened."""
        if self.eavesdropper is None:
            return {}
        eavesdropper, self.eavesdropper = self.eavesdropper, None
        return await eavesdropper.stop()


async def rest(receiver: Program) -> None:
    """Waits until nothing more arrives, as far as can be seen: three looks without news."""
    last, same = -1, 0
    while same < 3:
        now = int((await receiver.ask("count"))["received"])
        same = same + 1 if now == last else 0
        last = now
        await asyncio.sleep(0.1)


def connection(*, udp: bool) -> Connection:
    """All that the two hosts say to each other, in transport mode."""
    return Connection(
        policy="all",
        mode="transport",
        udp=udp,
        left=ADDRESS["left"],
        right=ADDRESS["right"],
        local=f"{ADDRESS['left']}/32",
        remote=f"{ADDRESS['right']}/32",
    )


def _clear() -> list[Table]:
    """What lets the plain port through, either way round."""
    wide = {"action": "bypass", "local": "10.64.0.0/10", "remote": "10.64.0.0/10"}
    return [
        {"name": "clear-to", **wide, "protocol": "udp", "remote_port": str(CLEAR)},
        {"name": "clear-from", **wide, "protocol": "udp", "local_port": str(CLEAR)},
    ]


def _team_file(path: Path, role: str, side: Side, keyring: Keyring) -> Path:
    team: Table = {"name": TEAM, "address": [f"{ADDRESS[role]}/24"], **side.team}
    write_toml(
        path,
        [
            ("[team]", team),
            *side.tables,
            *(("[[member]]", member) for member in side.members),
            *(("[[engine]]", engine) for engine in side.engines),
            *(("[[sa]]", table) for table in keyring.tables(role)),
            *(("[[policy]]", table) for table in _clear()),
            *(("[[policy]]", one.policy_of(role)) for one in keyring.connections),
        ],
    )
    return path


@asynccontextmanager
async def pair(
    left: Side,
    right: Side | None = None,
    *,
    programs: Path,
    udp: bool = True,
    bundle: bool = False,
    listen: bool = False,
    shape: Mapping[str, str] | None = None,
) -> AsyncIterator[Pair]:
    """Two teams that are up and reach each other; gone when the block ends, however it ends.

    Args:
        left: the team that is tried.
        right: its peer; one member and one inline engine if left out.
        programs: where `numbered` is.
        udp: whether ESP is in UDP.
        bundle: whether left has an SA for each member, not one for all.
        listen: whether somebody listens at every port of left's.
        shape: rates of left's members, as tc(8) writes them, by interface.
    """
    sides = {"left": left, "right": right or Side()}
    needle = secrets.token_bytes(16)
    async with AsyncExitStack() as stack:
        lab = stack.enter_context(Lab())
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="esprit-trial-", ignore_cleanup_errors=True)
            )
        )
        tools = await stack.enter_async_context(numbered(programs))
        hosts = {role: lab.host(role) for role in sides}
        switch = lab.switch()
        ports = [
            switch.plug(hosts[role], name)
            for role, side in sides.items()
            for name in side.interfaces
        ]
        for interface, rate in (shape or {}).items():
            bucket = ["tbf", "rate", rate, "burst", "64kb", "latency", "50ms"]
            hosts["left"].run("tc", "qdisc", "add", "dev", interface, "root", *bucket)
        keyring = Keyring([connection(udp=udp)])
        for one in keyring.connections:
            for member in left.interfaces if bundle else [None]:
                keyring.make(one, "left", member)
            keyring.make(one, "right", None)
        teams = {
            role: RunningTeam(
                host=hosts[role],
                file=_team_file(folder / f"{role}.toml", role, side, keyring),
                folder=folder / role,
                program=side.program,
            )
            for role, side in sides.items()
        }
        eavesdropper = None
        if listen:
            ours = [port for port in ports if port.startswith("left-")]
            eavesdropper = await Eavesdropper.start(switch, ours, [needle], sample_every=0, keep=0)
            stack.push_async_callback(eavesdropper.kill)
        for team in teams.values():
            stack.push_async_callback(team.kill)
        await asyncio.gather(*(team.up() for team in teams.values()))
        controls = {
            role: await stack.enter_async_context(team.control()) for role, team in teams.items()
        }
        heard = await stack.enter_async_context(Heard.of(controls["left"]))
        found = Pair(
            hosts=hosts,
            switch=switch,
            left=controls["left"],
            right=controls["right"],
            teams=teams,
            tools=tools,
            heard=heard,
            needle=needle,
            folder=folder,
            eavesdropper=eavesdropper,
        )
        await found.reach()
        yield found

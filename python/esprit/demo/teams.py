"""The two teams of the demonstration: their files, their processes, and the way to them."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import esprit
from esprit.demo.keys import Connection, Keyring, Table
from esprit.demo.lab import GRACE, Host, tell
from esprit.demo.traffic import PORTS

TEAM = "team0"
#: The virtual NIC's VLAN that tagged traffic goes by.
VLAN = 7
#: Addresses of team0, of what stands behind each host, and of the VLAN.
ADDRESS = {"left": "10.77.0.1", "right": "10.77.0.2"}
BEHIND = {"left": "10.78.1.1", "right": "10.78.2.1"}
TAGGED = {"left": "10.79.0.1", "right": "10.79.0.2"}
#: How long a team may take to come up or to end.
PATIENCE = 30.0

CONNECTIONS = (
    Connection(
        policy="web",
        mode="transport",
        udp=True,
        left=ADDRESS["left"],
        right=ADDRESS["right"],
        local=f"{ADDRESS['left']}/32",
        remote=f"{ADDRESS['right']}/32",
    ),
    Connection(
        policy="branch",
        mode="tunnel",
        udp=False,
        left=ADDRESS["left"],
        right=ADDRESS["right"],
        local="10.78.1.0/24",
        remote="10.78.2.0/24",
    ),
    Connection(
        policy="tagged",
        mode="transport",
        udp=False,
        left=TAGGED["left"],
        right=TAGGED["right"],
        local=f"{TAGGED['left']}/32",
        remote=f"{TAGGED['right']}/32",
    ),
)

#: The members of left's team. Their engines are simulated; together they are slower than what the
#: machine could do, so that the processor cores have something left to take.
LEFT_MEMBERS: tuple[Table, ...] = (
    {
        "interface": "eth1",
        "engine": {"kind": "asic", "rate": "400M", "latency": "20us"},
    },
    {"interface": "eth2"},
    {
        "interface": "eth3",
        "engine": {
            "kind": "asic",
            "rate": "2G",
            "latency": "10us",
            "inline": True,
            "lookaside": False,
        },
    },
)
#: What is put in where another member was removed.
SPARE: Table = {"interface": "eth4"}
LEFT_ENGINES: tuple[Table, ...] = (
    {"name": "accelerator", "kind": "asic", "rate": "300M", "latency": "50us"},
    {"name": "cores", "kind": "cpu", "threads": 0},
)
RIGHT_MEMBERS: tuple[Table, ...] = ({"interface": "eth1"},)
RIGHT_ENGINES: tuple[Table, ...] = ({"name": "cores", "kind": "cpu", "threads": 0},)


class TeamError(Exception):
    """A team did not come up, or ended."""


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    # TOML's booleans, integers and basic strings are JSON's, where no character is escaped.
    return json.dumps(value)


def write_toml(path: Path, tables: Iterable[tuple[str, Table]]) -> None:
    """Writes a file of tables, readable by its owner only: it holds keys."""
    text = "\n".join(
        f"{head}\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in table.items())
        for head, table in tables
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def clear_policies() -> list[Table]:
    """What lets the control canaries through in plaintext: two ports, either way round."""
    wide = {"action": "bypass", "local": "10.64.0.0/10", "remote": "10.64.0.0/10"}
    ports = f"{PORTS['open']}-{PORTS['tagged']}"
    return [
        {"name": "clear-to", **wide, "protocol": "tcp", "remote_port": ports},
        {"name": "clear-from", **wide, "protocol": "tcp", "local_port": ports},
    ]


def team_file(path: Path, host: str, keyring: Keyring) -> Path:
    """Writes one host's team.toml."""
    left = host == "left"
    other = "right" if left else "left"
    team: Table = {
        "name": TEAM,
        "mode": "active-backup",
        "software": "overflow",
        "address": [f"{ADDRESS[host]}/24"],
    }
    behind: Table = {
        "to": next(c.remote if left else c.local for c in CONNECTIONS if c.mode == "tunnel"),
        "via": ADDRESS[other],
        "src": BEHIND[host],
    }
    write_toml(
        path,
        [
            ("[team]", team),
            ("[[team.route]]", behind),
            *(("[[member]]", table) for table in (LEFT_MEMBERS if left else RIGHT_MEMBERS)),
            *(("[[engine]]", table) for table in (LEFT_ENGINES if left else RIGHT_ENGINES)),
            *(("[[sa]]", table) for table in keyring.tables(host)),
            *(("[[policy]]", table) for table in clear_policies()),
            *(("[[policy]]", c.policy_of(host)) for c in keyring.connections),
        ],
    )
    return path


@dataclass(slots=True)
class RunningTeam:
    """`esprit up` in a namespace, with folders of its own for its state."""

    host: Host
    file: Path
    folder: Path
    #: What Python runs: the bench puts a program of its own before the same command.
    program: tuple[str, ...] = ("-m", "esprit")
    process: asyncio.subprocess.Process | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What tells this team's processes apart from any other's."""
        own = {"ESPRIT_RUN": str(self.folder / "run"), "ESPRIT_STATE": str(self.folder / "state")}
        return dict(os.environ) | own

    @property
    def socket(self) -> Path:
        """Its control socket."""
        return self.folder / "run" / f"{TEAM}.sock"

    @property
    def log(self) -> Path:
        """What its process said."""
        return self.folder / "log"

    async def up(self) -> None:
        """Starts it and waits until it says that it is up.

        Raises:
            TeamError: it ended instead; the message is its last words.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.host.inside(sys.executable, *self.program, "up", str(self.file)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self.environment,
                process_group=0,
            )
        assert self.process.stdout is not None  # noqa: S101 - it was asked for above
        try:
            async with asyncio.timeout(PATIENCE):
                line = await self.process.stdout.readline()
        except TimeoutError:
            raise TeamError(f"the team in {self.host.role} does not come up: {self.said}") from None
        if not line:
            await self.process.wait()
            raise TeamError(f"the team in {self.host.role} ended: {self.said}")

    @property
    def said(self) -> str:
        """The last line of its log."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "nothing was said"

    async def down(self) -> int:
        """Ends it as an operator does, and returns its exit status."""
        if self.process is None:
            return 0
        tell(self.process, signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.process.wait(), timeout=GRACE)
        except TimeoutError:
            await self.kill()
            raise TeamError(f"the team in {self.host.role} does not end: {self.said}") from None

    def tell(self, number: signal.Signals) -> None:
        """Sends its process a signal."""
        if self.process is not None:
            tell(self.process, number)

    async def kill(self) -> None:
        """Ends it at once, with no chance to put anything back."""
        if self.process is not None:
            tell(self.process, signal.SIGKILL)
            await self.process.wait()

    @contextlib.asynccontextmanager
    async def control(self) -> AsyncIterator[esprit.Team]:
        """The running team, over its control socket."""
        async with esprit.connect(TEAM, socket=self.socket) as team:
            yield team

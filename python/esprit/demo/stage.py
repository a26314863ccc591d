"""The stage of the demonstration: three namespaces, two teams, VLANs, and somebody listening."""

import asyncio
import contextlib
import secrets
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from esprit.demo.content import CANARY_LEN
from esprit.demo.eavesdrop import Eavesdropper
from esprit.demo.keys import Keyring
from esprit.demo.lab import Host, Lab, LabError, Switch, stop
from esprit.demo.teams import (
    BEHIND,
    CONNECTIONS,
    LEFT_MEMBERS,
    RIGHT_MEMBERS,
    SPARE,
    TAGGED,
    TEAM,
    VLAN,
    RunningTeam,
    team_file,
)
from esprit.demo.traffic import PORTS, Traffic

#: Of so many ESP frames one is kept to be opened, and no more than so many of each port.
SAMPLE_EVERY = 997
SAMPLES = 48
#: Flags that tell of the cable, not of what was set.
CARRIER = {"LOWER_UP", "NO-CARRIER"}


@dataclass(slots=True, kw_only=True)
class Stage:
    """Everything that the demonstration plays with."""

    left: Host
    right: Host
    switch: Switch
    ports: dict[str, tuple[Host, str]]
    keyring: Keyring
    teams: dict[str, RunningTeam]
    traffic: Traffic
    eavesdropper: Eavesdropper
    canaries: dict[str, bytes]
    #: What the hosts' interfaces and firewall were like before any team was there.
    before: dict[str, str]
    #: What stands in for VLAN interfaces, where this kernel has none.
    vlans: list[subprocess.Popen[bytes]]


def look_of(host: Host) -> str:
    """What a team must leave as it found it: interfaces, their settings, and nftables."""
    links = host.show("link", "show")
    lines = [
        f"{link['ifname']} {link['address']} {link['mtu']} {sorted(set(link['flags']) - CARRIER)}"
        for link in sorted(links, key=lambda link: str(link["ifname"]))
    ]
    return "\n".join([*lines, host.rules().strip()])


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """Sets the stage, and clears it when the block ends, however it ends."""
    with (
        Lab() as lab,
        tempfile.TemporaryDirectory(prefix="esprit-demo-", ignore_cleanup_errors=True) as folder,
    ):
        left, right, switch = lab.host("left"), lab.host("right"), lab.switch()
        ports: dict[str, tuple[Host, str]] = {}
        for host, members in ((left, (*LEFT_MEMBERS, SPARE)), (right, RIGHT_MEMBERS)):
            for member in members:
                interface = str(member["interface"])
                ports[switch.plug(host, interface)] = (host, interface)
            # A tunnel's inner address, as a host has one that stands before a network.
            host.ip("address", "add", f"{BEHIND[host.role]}/32", "dev", "lo")
        keyring = Keyring(CONNECTIONS)
        for member in LEFT_MEMBERS:
            keyring.bundle(str(member["interface"]))
        for connection in CONNECTIONS:
            keyring.make(connection, "right", None)
        teams = {
            host.role: RunningTeam(
                host=host,
                file=team_file(Path(folder) / f"{host.role}.toml", host.role, keyring),
                folder=Path(folder) / host.role,
            )
            for host in (left, right)
        }
        canaries = {kind: secrets.token_bytes(CANARY_LEN) for kind in PORTS}
        before = {host.role: look_of(host) for host in (left, right)}
        # It listens before there is anything to hear: a start must not leak either.
        eavesdropper = await Eavesdropper.start(
            switch,
            ports,
            list(canaries.values()),
            sample_every=SAMPLE_EVERY,
            keep=SAMPLES,
        )
        traffic = Traffic(canaries)
        vlans: list[subprocess.Popen[bytes] | None] = []
        try:
            await asyncio.gather(*(team.up() for team in teams.values()))
            for host in (left, right):
                vlans.append(await asyncio.to_thread(add_vlan, host))
            await traffic.open((left, right))
            yield Stage(
                left=left,
                right=right,
                switch=switch,
                ports=ports,
                keyring=keyring,
                teams=teams,
                traffic=traffic,
                eavesdropper=eavesdropper,
                canaries=canaries,
                before=before,
                vlans=[process for process in vlans if process is not None],
            )
        finally:
            await traffic.close()
            for process in filter(None, vlans):
                stop(process)
            for team in teams.values():
                await team.kill()
            await eavesdropper.kill()


def add_vlan(host: Host) -> subprocess.Popen[bytes] | None:
    """Puts a VLAN interface on top of the team, as on any NIC.

    Returns:
        The process that stands in for it where this kernel has none; it ends with its namespace.
    """
    name = f"{TEAM}.{VLAN}"
    process = None
    try:
        host.ip("link", "add", "link", TEAM, "name", name, "type", "vlan", "id", str(VLAN))
    except LabError:
        process = host.start(
            sys.executable,
            *("-m", "esprit.demo.vlan", TEAM, str(VLAN), name),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None  # noqa: S101 - it was asked for above
        if not process.stdout.readline():
            raise
        team = host.link(TEAM)
        host.ip("link", "set", name, "address", str(team["address"]), "mtu", str(team["mtu"]))
    host.ip("address", "add", f"{TAGGED[host.role]}/24", "dev", name)
    host.ip("link", "set", name, "up")
    return process

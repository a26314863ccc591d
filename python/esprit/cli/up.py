"""``esprit up``: teams in the foreground."""

import asyncio
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

from esprit import config
from esprit.control.dataplane import load
from esprit.control.paths import socket_path
from esprit.control.team import RunningTeam
from esprit.daemon.service import Service
from esprit.errors import RollbackFailed


def up(files: Sequence[Path], *, dry_run: bool, force: bool) -> None:
    """Run the teams of ``files`` until SIGTERM or SIGINT.

    Raises:
        EspritError: why they cannot run; everything is as it was.
    """
    configs = config.load_all(files)
    service = Service(configs, force=force)
    if dry_run:
        for line in asyncio.run(service.plan()):
            print(line)
        return
    # Keys are in this process's memory, and a core dump would hold them.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    asyncio.run(service.run(load, _ready))
    if service.left_over:
        raise RollbackFailed(
            "esprit", f"not everything was put back: {'; '.join(service.left_over)}"
        )


def _ready(teams: Sequence[RunningTeam]) -> None:
    for team in teams:
        members = ", ".join(team.members)
        print(
            f"{team.name}: ready, {team.state.mode}, members {members}, mtu {team.mtu}, "
            f"control socket {socket_path(team.name)}"
        )
    sys.stdout.flush()

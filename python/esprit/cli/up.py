"""``esprit up``: the command that is the control plane itself."""

import asyncio
import ctypes
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

# include/uapi/linux/prctl.h
PR_SET_DUMPABLE = 4


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
    keep_out_of_core_dumps()
    asyncio.run(service.run(load, _ready))
    if service.left_over:
        raise RollbackFailed(
            "esprit", f"not everything was put back: {'; '.join(service.left_over)}"
        )


def keep_out_of_core_dumps() -> None:
    """Make this process leave no core dump: it holds keys.

    The limit alone does not hold where the kernel pipes core dumps into a program.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def _ready(teams: Sequence[RunningTeam]) -> None:
    for team in teams:
        members = ", ".join(team.members)
        print(
            f"{team.name}: ready, {team.state.mode}, members {members}, mtu {team.mtu}, "
            f"control socket {socket_path(team.name)}"
        )
        static = len(team.wanted.sas)
        if static:
            print(f"{team.name}: {static} static SAs, for laboratory use: their keys never change")
    sys.stdout.flush()

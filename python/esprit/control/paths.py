"""Where sockets, state files and high-water marks are kept."""

import os
from pathlib import Path


def run_directory() -> Path:
    """Where sockets and state files are kept: ``$ESPRIT_RUN``, or /run/esprit."""
    return Path(os.environ.get("ESPRIT_RUN") or "/run/esprit")


def socket_path(team: str) -> Path:
    """The control socket of a team."""
    return run_directory() / f"{team}.sock"


def marks_directory() -> Path:
    """Where high-water marks are kept: ``$ESPRIT_STATE``, or /var/lib/esprit.

    They must outlive a reboot, and be on a file system that keeps what was synced.
    """
    return Path(os.environ.get("ESPRIT_STATE") or "/var/lib/esprit")

"""Esprit teams Linux network interfaces and pools their encryption engines."""

from importlib import metadata as _metadata

from esprit.client import Engine, Member, Policy, SecurityAssociation, Team, connect
from esprit.errors import EspritError

try:
    __version__ = _metadata.version("esprit")
except _metadata.PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0"

__all__ = [
    "Engine",
    "EspritError",
    "Member",
    "Policy",
    "SecurityAssociation",
    "Team",
    "__version__",
    "connect",
]

"""Esprit teams Linux network interfaces and pools their encryption engines."""

from importlib import import_module as _import_module
from importlib import metadata as _metadata
from types import ModuleType as _ModuleType
from typing import TYPE_CHECKING as _TYPE_CHECKING

from esprit.client import Engine, Member, Policy, SecurityAssociation, Team, connect
from esprit.errors import EspritError

try:
    __version__ = _metadata.version("esprit")
except _metadata.PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0"

if _TYPE_CHECKING:
    from esprit import crypto as crypto


def __getattr__(name: str) -> _ModuleType:
    """Load what needs the extension when it is first asked for: ``esprit.crypto``."""
    if name == "crypto":
        return _import_module("esprit.crypto")
    raise AttributeError(f"module 'esprit' has no attribute {name!r}")


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

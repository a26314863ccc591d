"""The command line: object, then verb, as in iproute2."""

from esprit.cli.app import main

__all__ = ["main"]

"""The main job, shown on namespaces that it makes itself.

`esprit demo` makes a host whose team has members that are not alike, a peer, and a switch between
them; runs downloads; takes the team apart meanwhile; listens on every wire; and says in the end
whether what was promised held.
"""

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demonstration; see :func:`esprit.demo.app.main`."""
    # The parts that tests and child processes import need none of what the whole needs.
    from esprit.demo.app import main as run

    return run(arguments)

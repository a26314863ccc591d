"""The data plane's face, and the one place that loads the extension."""

from typing import TYPE_CHECKING, Protocol

from esprit.errors import ExtensionUnusable

if TYPE_CHECKING:
    from esprit._native import (
        Drop,
        EngineSpec,
        EngineVerified,
        Event,
        Explanation,
        FaultName,
        Flow,
        Grants,
        Loads,
        MemberAdded,
        MemberSpec,
        Plan,
        PolicySpec,
        SaSnapshot,
        SaSpec,
        Snapshot,
        TeamAdded,
        TeamSpec,
    )


class DataPlane(Protocol):
    """What the control plane asks of the data plane; see ``_native.pyi`` for each call."""

    def close(self) -> None:
        """Stop the worker threads."""

    def event_fd(self) -> int:
        """Return the descriptor that is readable when there are events."""

    def events(self) -> "list[Event]":
        """Take what happened since the last call."""

    def snapshot(self) -> "Snapshot":
        """Return everything there is to see."""

    def loads(self) -> "Loads":
        """Return what members and shares had to do."""

    def team_add(self, spec: "TeamSpec") -> "TeamAdded":
        """Make a virtual NIC, or adopt it."""

    def team_remove(self, team: int, *, destroy: bool) -> None:
        """Remove a team."""

    def member_add(self, spec: "MemberSpec") -> "MemberAdded":
        """Open a member's port."""

    def member_remove(self, member: int) -> None:
        """Close a member's port."""

    def engine_add(self, spec: "EngineSpec") -> "EngineVerified":
        """Make, test and admit an engine."""

    def engine_remove(self, engine: int) -> None:
        """Take an engine out of the pool."""

    def engine_reset(self, engine: int) -> "EngineVerified":
        """Reset an engine, test and admit it again."""

    def engine_verify(self, engine: int) -> "EngineVerified":
        """Test an engine as it is, and admit it again."""

    def engine_fault(self, engine: int, fault: "FaultName", value: int = 0) -> None:
        """Inject a fault into a simulated engine."""

    def probe_key(self, team: int, key: bytes) -> None:
        """Give a team the key of its probe frames."""

    def applications(self, grants: "Grants") -> None:
        """Say what engines may do for applications' tasks."""

    def explain(self, team: int, flow: "Flow") -> "Explanation":
        """Say what would become of a packet, and why."""

    def last_drop(self, team: int) -> "Drop | None":
        """Return the last packet of a team that was dropped."""

    def publish(self, plan: "Plan") -> int:
        """Put a Plan in force."""

    def sa_add(self, spec: "SaSpec", key: bytes) -> None:
        """Add a security association."""

    def sa_delete(self, sa: int) -> None:
        """Delete a security association."""

    def sa_show(self, sa: int) -> "SaSnapshot | None":
        """Return one SA."""

    def sa_tops(self, team: int, step: int) -> dict[int, int]:
        """Return how far inbound SAs have come, of those that went on by ``step``."""

    def sa_grant(self, sa: int, upto: int) -> None:
        """Let an SA use the numbers below the mark."""

    def sa_next_hop(self, sa: int, mac: str | None) -> None:
        """Tell an SA its next hop's address."""

    def policies_set(self, team: int, policies: "list[PolicySpec]") -> None:
        """Replace a team's whole SPD."""


def load() -> DataPlane:
    """Start the data plane of this process.

    Raises:
        ExtensionUnusable: the extension is not built, or is another version's.
    """
    import esprit

    try:
        from esprit import _native
    except ImportError as error:
        raise ExtensionUnusable(
            "esprit._native", f"cannot be loaded: {error}", remedy="build it with `make build`"
        ) from error
    if _native.__version__ != esprit.__version__:
        raise ExtensionUnusable(
            "esprit._native",
            f"is version {_native.__version__}, the package is {esprit.__version__}",
            remedy="build it again with `make build`",
        )
    return _native.DataPlane()

"""A change of the system applies wholly or not at all.

Steps are done in order; each is in the state file before it is done, and read back after.
When one fails, those before it are undone in reverse, and the error says whether that
worked. Undoing a whole team is the same walk backwards.
"""

import inspect
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from esprit.control.netlink import Netlink
from esprit.control.state import Journal
from esprit.control.steps import Step
from esprit.errors import ApplyFailed, EspritError, RollbackFailed

Undo = Callable[[], Awaitable[None] | None]


class Transaction:
    """Steps that are done together; leaving the block by an exception undoes them.

    Both kinds of change take part: steps on the system, which survive this process and so
    are in the state file, and calls with an undo, for what dies with it.
    """

    def __init__(self, netlink: Netlink, journal: Journal, team: str) -> None:
        self._netlink = netlink
        self._journal = journal
        self._team = team
        self._undo: list[tuple[str, Undo]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            return
        failed = await self.roll_back()
        if failed:
            raise RollbackFailed(
                self._team,
                f"{error}; and could not be put back: {'; '.join(failed)}",
                remedy="put these back by hand",
            ) from error
        if isinstance(error, OSError):
            raise ApplyFailed(
                self._team,
                f"the kernel refused a change: {error.strerror or error}",
                remedy="everything was put back; see the kernel's log",
            ) from error

    async def do(self, step: Step) -> None:
        """Do one step, after it is written down; read it back."""
        if step in self._journal.teams.get(self._team, []):
            # Left by a process that was killed, or of an interface that was plugged in again:
            # adopted, with the undo that was recorded then. What has been lost meanwhile is
            # done again. If this start fails too, it stays: a member that was shut stays shut.
            if not await step.holds(self._netlink):
                await step.do(self._netlink)
            return
        self._journal.record(self._team, step)
        try:
            await step.do(self._netlink)
        except BaseException:
            self._journal.forget(self._team, step)
            raise
        self._undo.append((_name(step), self._undo_of(step)))
        if step.vital and not await step.holds(self._netlink):
            raise ApplyFailed(
                self._team,
                f"{_name(step)} was done and is not in effect",
                remedy="see what else changes this interface",
            )

    def _undo_of(self, step: Step) -> Undo:
        async def undo() -> None:
            await step.undo(self._netlink)
            self._journal.forget(self._team, step)

        return undo

    def on_failure(self, name: str, undo: Undo) -> None:
        """Register the undo of a call that is about to be made, or was just made."""
        self._undo.append((name, undo))

    async def roll_back(self) -> list[str]:
        """Undo everything in reverse; returns what could not be undone."""
        failed = []
        while self._undo:
            name, undo = self._undo.pop()
            try:
                result = undo()
                if inspect.isawaitable(result):
                    await result
            except (OSError, EspritError) as error:
                failed.append(f"{name}: {error}")
        return failed


def _name(step: Step) -> str:
    return " ".join(str(value) for value in step.to_json().values() if value is not None)


async def put_back(
    netlink: Netlink, journal: Journal, team: str, *, keep: Callable[[Step], bool] | None = None
) -> list[str]:
    """Undo a team's recorded steps in reverse, but for those to keep.

    Returns:
        What could not be undone; those steps stay in the state file.
    """
    failed = []
    for step in reversed(list(journal.teams.get(team, []))):
        if keep is not None and keep(step):
            continue
        try:
            await step.undo(netlink)
        except (OSError, EspritError) as error:
            failed.append(f"{_name(step)}: {error}")
            continue
        journal.forget(team, step)
    return failed

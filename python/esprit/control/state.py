"""What was changed on this system, written down before it is done.

One folder per network namespace, one state file in it: for each team, in order, the steps
that are to be undone. A process that ends cleanly undoes them in reverse; one that was
killed leaves the file, and the next start reads it: what the new teams need is adopted,
the rest is put back.
"""

import fcntl
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from esprit.control.paths import run_directory
from esprit.control.steps import Step, step_from_json
from esprit.errors import AlreadyRunning, StateUnusable

_VERSION = 1


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _namespace() -> str:
    """The network namespace of this process, by its inode."""
    return str(Path("/proc/self/ns/net").stat().st_ino)


@dataclass(slots=True)
class Journal:
    """The state file of this network namespace, locked by the one process that serves it."""

    path: Path
    teams: dict[str, list[Step]] = field(default_factory=dict)
    _lock: int = -1

    @classmethod
    def open(cls) -> "Journal":
        """Lock this namespace's state and read what an earlier process left.

        Raises:
            AlreadyRunning: another process serves this network namespace.
            StateUnusable: the folder cannot be used.
        """
        folder = run_directory() / _namespace()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateUnusable(
                str(folder),
                f"cannot be used: {error.strerror}",
                remedy="run as root, or set ESPRIT_RUN to a folder that can be written",
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise AlreadyRunning(
                "esprit",
                "another process runs teams in this network namespace",
                remedy="end it first, or give it this team's file as well",
            ) from error
        journal = cls(folder / "state.json", _lock=lock)
        journal._read()
        return journal

    def _read(self) -> None:
        try:
            found = json.loads(self.path.read_text())
            if found["version"] == _VERSION and found["boot"] == _boot_id():
                self.teams = {
                    str(team): [step_from_json(step) for step in steps]
                    for team, steps in found["teams"].items()
                }
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StateUnusable(
                str(self.path),
                "cannot be understood",
                remedy="put the interfaces back by hand, then remove the file",
            ) from error

    def record(self, team: str, step: Step) -> None:
        """Write a step down, before it is done."""
        self.teams.setdefault(team, []).append(step)
        self._write()

    def forget(self, team: str, step: Step) -> None:
        """Strike a step out, after it was undone."""
        steps = self.teams.get(team, [])
        if step in steps:
            steps.remove(step)
        if not steps:
            self.teams.pop(team, None)
        self._write()

    def _write(self) -> None:
        # No sync to disk: what the file describes does not outlive the running kernel either.
        body = {
            "version": _VERSION,
            "boot": _boot_id(),
            "pid": os.getpid(),
            "teams": {
                team: [step.to_json() for step in steps] for team, steps in self.teams.items()
            },
        }
        fresh = self.path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(body, indent=1) + "\n")
        fresh.replace(self.path)

    def close(self) -> None:
        """Give the lock back; an empty state file goes."""
        if self._lock < 0:
            return
        if not self.teams:
            self.path.unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = -1

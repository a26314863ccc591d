"""Which sequence numbers a static key has used: kept on disk, across restarts and crashes.

AES-GCM's nonce is the salt and the packet's IV, and our IV is the sequence number. A key
from a file comes back after a restart, so its numbers must go on where they ended: before
any number is used, a mark above it is on disk. Files are named by a fingerprint of key and
salt, never by the key, one for each direction; each is held under a lock, so that no other
process of this machine uses the same key and salt for the same direction meanwhile.
"""

import fcntl
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from esprit.errors import KeyInUse, StateUnusable

Direction = Literal["out", "in"]

# Numbers reserved at a time. Half a block must outlast the slowest sync to disk, because
# the next one is reserved at half use: at 2 million packets a second from one SA (four
# times what a core seals here) half of 2^22 lasts a second. A crash loses at most a block,
# and without ESN 2^32 numbers hold 1024 of them.
BLOCK = 1 << 22

# After a clean end the mark comes down to the next number and this slack: more packets than
# the worker's buffers can hold (768 super-frames of 64 segments), should one have been
# numbered after the last look.
SLACK = 1 << 16

# An inbound SA's highest number is written when it has moved this far, which is far below
# the 2^31 within which RFC 4303 (appendix A) infers the high half of an ESN.
TOP_STEP = 1 << 20

_VERSION = 1
_LABEL = b"esprit high-water mark 1\0"


def fingerprint(key: bytes) -> str:
    """Name a key with its salt without telling either: 128 bits of a labelled SHA-256."""
    return hashlib.sha256(_LABEL + key).hexdigest()[:32]


@dataclass(slots=True)
class Mark:
    """One key's mark for one direction, locked while it is held.

    ``value`` is what the file holds: outbound, every number below it may have been used;
    inbound, the highest number that was seen.
    """

    path: Path
    direction: Direction
    value: int
    _lock: int = field(repr=False)

    def reserve(self, next_number: int, limit: int) -> int:
        """Raise an outbound mark to a block above ``next_number`` and sync it to disk.

        Args:
            next_number: the first number that has not been used.
            limit: the first number that the SA may never use (2^32, or 2^64 with ESN).

        Returns:
            The mark: numbers below it may be used now.
        """
        target = min(max(self.value, next_number + BLOCK), limit)
        if target > self.value:
            self._store(target)
        return self.value

    def settle(self, next_number: int) -> None:
        """Lower an outbound mark to what was used, at a clean end: nothing more is sealed."""
        target = next_number + SLACK
        if target < self.value:
            self._store(target)

    def saw(self, top: int, *, final: bool = False) -> None:
        """Note an inbound SA's highest number; it is written when it has moved far enough."""
        if top > self.value and (final or top - self.value >= TOP_STEP):
            self._store(top)

    def release(self) -> None:
        """Give the lock back."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _store(self, value: int) -> None:
        # A new file beside the old one, synced, renamed over it, and the folder synced: after
        # a power cut there is the old mark or the new one, and the new one before its use.
        body = json.dumps({"version": _VERSION, "direction": self.direction, "mark": value})
        fresh = self.path.with_suffix(".new")
        try:
            file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(file, body.encode() + b"\n")
                os.fsync(file)
            finally:
                os.close(file)
            fresh.replace(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise StateUnusable(
                str(self.path),
                f"the high-water mark cannot be written: {error.strerror}",
                remedy="free space on that file system, or set ESPRIT_STATE to another folder",
            ) from error
        self.value = value


def acquire(key: bytes, direction: Direction, *, subject: str, directory: Path) -> Mark:
    """Lock a key's mark for one direction and read it.

    Args:
        key: key and salt.
        direction: ``out`` seals with it, ``in`` opens.
        subject: the SA, for the message.
        directory: where marks are kept.

    Raises:
        KeyInUse: another SA, here or in another process, uses the same key and salt.
        StateUnusable: the folder or the file cannot be used.
    """
    name = fingerprint(key)
    path = directory / f"{name}.{direction}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(
            directory / f"{name}.{direction}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        raise StateUnusable(
            str(directory),
            f"high-water marks cannot be kept there: {error.strerror}",
            remedy="run as root, or set ESPRIT_STATE to a folder that can be written",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise KeyInUse(
            subject,
            "its key and salt are in use by another security association",
            remedy="give every security association and direction a key and salt of its own",
        ) from error
    try:
        return Mark(path, direction, _read(path, direction), lock)
    except BaseException:
        os.close(lock)
        raise


def _read(path: Path, direction: Direction) -> int:
    """The mark in a file; 0 when there is none. A damaged file is refused, never guessed at."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StateUnusable(
            str(path), f"cannot be read: {error.strerror}", remedy="run as root"
        ) from error
    try:
        found = json.loads(text)
        value = found["mark"]
        if found["version"] != _VERSION or found["direction"] != direction:
            raise ValueError("another version or direction")
        if not isinstance(value, int) or not 0 <= value <= 1 << 64:
            raise ValueError("not a number")
    except (ValueError, KeyError, TypeError) as error:
        raise StateUnusable(
            str(path),
            "holds no high-water mark",
            remedy="replace the security association's key, then remove the file",
        ) from error
    return value

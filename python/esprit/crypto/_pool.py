"""A pool of engines in this process, for applications.

It is the data plane that teams run on, without a team: it needs no root and touches no
interface.
"""

import asyncio
import os
import threading
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from esprit import _native
from esprit.crypto._keeper import How, Keeper
from esprit.crypto._loop import LoopEnd, Triple
from esprit.crypto.load import Load, LoadResource
from esprit.crypto.load import run as run_load
from esprit.errors import Conflict, NotFound
from esprit.model import EngineSpec

if TYPE_CHECKING:
    from esprit._native import (
        AeadKey,
        EngineVerified,
        FaultName,
        Grant,
        Snapshot,
        Work,
    )

# Beyond this expected time the next tier would be asked; a pool of applications has one tier.
_SPILL_NS: Final = 20_000_000

# Buffers of each size that jobs write to: as many as tasks may be in flight (256), and as many
# again for what hung engines hold. They are made when they are first needed.
_BUFFERS: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatistics:
    """What an engine of the pool is, and what it has done.

    Attributes:
        simulated: It imitates a device that is not there.
        jobs: Jobs given to it; a job holds up to 64 messages.
        redone: Jobs that were taken from it and done by others.
        backlog_ns: Nanoseconds until it is expected to have done what it has.
    """

    name: str
    kind: str
    simulated: bool
    health: str
    jobs: int
    messages: int
    bytes: int
    redone: int
    failed: int
    backlog_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatistics:
    """What applications have done by a pool.

    Attributes:
        messages: Done by its engines, and their ``bytes``.
        own_messages: Too long for it, done on the callers' threads, and their ``own_bytes``.
        in_flight: Tasks that it has, of the ``room`` that there is.
        waits: How often a caller found no room, and waited.
        engines: Those in the pool; one that is being tested is not.
    """

    messages: int
    bytes: int
    own_messages: int
    own_bytes: int
    in_flight: int
    room: int
    waits: int
    engines: tuple[EngineStatistics, ...]


class Pool:
    """Engines, and the scheduler over them. Any thread and any event loop may use it.

    An engine that did not answer in time, or answered wrongly, is tested again by itself, and
    works again once it passes. What only it could do waits for it, for ten seconds at most.

    Args:
        engines: What it consists of; each is tested before it works. Without any, it is one
            thread for each processor that this process may use.
        room: Tasks in flight at most; whoever finds no room waits. 256 by default.

    Raises:
        esprit.errors.EngineRefused: an engine failed its test.
    """

    def __init__(self, engines: Iterable[EngineSpec] = (), *, room: int | None = None) -> None:
        self._plane = _native.DataPlane(small_buffers=_BUFFERS, large_buffers=_BUFFERS)
        self._requester = _native.Requester(self._plane, room=room)
        # Held while engines change, for as long as their tests take; who reads needs it not, for
        # the tables are replaced as wholes.
        self._changing = threading.Lock()
        self._specs: dict[int, EngineSpec] = {}
        self._verified: dict[int, EngineVerified] = {}
        self._last = 0
        self._loops = threading.Lock()
        self._ends: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopEnd]
        self._ends = weakref.WeakKeyDictionary()
        self._end = weakref.finalize(self, Keeper(self._plane, self).stop)
        try:
            for spec in tuple(engines) or (_processors(),):
                self.add_engine(spec)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the engines' threads. Tasks in flight fail."""
        self._end()
        self._plane.close()

    # engines

    def add_engine(self, spec: EngineSpec) -> "EngineVerified":
        """Test an engine and take it in.

        Raises:
            esprit.errors.EngineRefused: it failed its test.
            esprit.errors.Conflict: there is one of that name.
        """
        with self._changing:
            if any(known.name == spec.name for known in self._specs.values()):
                raise Conflict(f"engine {spec.name}", "exists already")
            self._last += 1
            number = self._last
            report = self._plane.engine_add(spec.to_native(id=number, member=None))
            self._specs = {**self._specs, number: spec}
            self._verified = {**self._verified, number: report}
            self._grant()
            return report

    def remove_engine(self, name: str) -> None:
        """Take an engine out; what it has is done by the others."""
        with self._changing:
            number = self._number(name)
            self._specs = {at: one for at, one in self._specs.items() if at != number}
            self._verified = {at: one for at, one in self._verified.items() if at != number}
            self._grant()
            self._plane.engine_remove(number)

    def reset_engine(self, name: str) -> "EngineVerified":
        """Reset an engine, test it again and take it in again."""
        with self._changing:
            return self._test(self._number(name), "reset")

    def _test(self, number: int, how: How) -> "EngineVerified":
        test = self._plane.engine_reset if how == "reset" else self._plane.engine_verify
        report = test(number)
        self._verified = {**self._verified, number: report}
        return report

    def fault_engine(self, name: str, fault: "FaultName", value: int = 0) -> None:
        """Make a simulated engine fail.

        Args:
            name: The engine.
            fault: How.
            value: Of ``late`` microseconds, of ``wrong`` one operation in so many, of ``sag`` the
                per cent of its rate that are left, of ``coalesce`` nanoseconds; else nothing.
        """
        with self._changing:  # an engine that is being tested is nowhere to be found
            self._plane.engine_fault(self._number(name), fault, value)

    def report(self, name: str) -> "EngineVerified":
        """Return what an engine's last test found."""
        return self._verified[self._number(name)]

    def _number(self, name: str) -> int:
        for number, spec in self._specs.items():
            if spec.name == name:
                return number
        raise NotFound(f"engine {name}")

    # what its keeper asks for

    def engine_name(self, number: int) -> str | None:
        """Return the name of an engine; None where there is none of that number."""
        spec = self._specs.get(number)
        return None if spec is None else spec.name

    def retest_engine(self, name: str, how: How) -> None:
        """Test an engine that is out of use, and take it in again.

        Raises:
            esprit.errors.EngineRefused: it failed, and stays out.
            esprit.errors.NotFound: there is none of that name any more.
        """
        with self._changing:
            number = self._number(name)
            seen = self.snapshot()["engines"].get(number)
            # Somebody may have been faster.
            if seen is None or seen["health"] in ("hung", "quarantined"):
                self._test(number, how)

    def _grant(self) -> None:
        self._plane.applications(
            {
                "engines": [_grant(number) for number in self._specs],
                "spill_ns": (_SPILL_NS, _SPILL_NS, _SPILL_NS),
                "verify_every": 0,
            }
        )

    def snapshot(self) -> "Snapshot":
        """Return the state of the data plane underneath."""
        return self._plane.snapshot()

    def stats(self) -> PoolStatistics:
        """Return what was done so far, and by whom."""
        specs = self._specs
        seen = self.snapshot()["engines"]
        return PoolStatistics(
            **self._requester.statistics(),
            engines=tuple(
                EngineStatistics(
                    name=spec.name,
                    kind=spec.kind,
                    simulated=spec.simulated,
                    health=seen[number]["health"],
                    jobs=seen[number]["jobs"],
                    messages=seen[number]["packets"],
                    bytes=seen[number]["bytes"],
                    redone=seen[number]["redone"],
                    failed=seen[number]["failed"],
                    backlog_ns=seen[number]["backlog_ns"],
                )
                for number, spec in specs.items()
                if number in seen
            ),
        )

    # work

    def run(self, key: "AeadKey", work: "Work", messages: list[Triple]) -> list[bytes | None]:
        """Do messages and wait; None where a tag was wrong."""
        return self._requester.run(key, work, messages)

    async def run_async(
        self, key: "AeadKey", work: "Work", messages: list[Triple]
    ) -> list[bytes | None]:
        """Do messages on a thread that waits, so that the event loop does not."""
        return await asyncio.to_thread(self.run, key, work, messages)

    def begin(
        self, key: "AeadKey", work: "Work", message: Triple
    ) -> "asyncio.Future[bytes | None]":
        """Begin one message; the running event loop hears of its end."""
        loop = asyncio.get_running_loop()
        with self._loops:
            end = self._ends.get(loop)
            if end is None:
                end = self._ends[loop] = LoopEnd(self._requester, loop)
        return end.begin(key, work, message)

    def load(self, wanted: Load) -> LoadResource:
        """Keep the pool busy with tasks made for that, and say what it managed."""
        specs, verified = self._specs, self._verified
        engines = [(at, spec, verified[at]) for at, spec in specs.items() if at in verified]
        return run_load(self._requester, wanted, engines)


def _grant(engine: int) -> "Grant":
    """Return what an engine of this pool may do: everything, for applications."""
    return {
        "engine": engine,
        "member": None,
        "seal": True,
        "open": True,
        "primary": None,
        "secondary": None,
        "application": 0,
        "bias_ns": 0,
        "bias_load": 0.0,
        "limit_ns": None,
        "headroom": None,
    }


def _processors() -> EngineSpec:
    return EngineSpec(name="cores", kind="cpu", threads=len(os.sched_getaffinity(0)))


class _Default:
    """The pool that is used where none is named. Made at its first use, anew after a fork."""

    def __init__(self) -> None:
        self.forget()
        os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        # After a fork the threads are the parent's; the data plane knows, and waits for none.
        self._lock = threading.Lock()
        self._pool: Pool | None = None

    def get(self) -> Pool:
        with self._lock:
            if self._pool is None:
                self._pool = Pool()
            return self._pool


_default = _Default()


def default_pool() -> Pool:
    """Return the pool of this process: its processors, a thread each. It is made when first used.

    Raises:
        esprit.errors.EngineRefused: the processors failed the known-answer tests.
    """
    return _default.get()

"""What a pool of applications does by itself: an engine that went out of use is tested again.

The data plane tells what happens to its engines, and a thread hears it. When an engine is tested
again is decided as for a team's (:mod:`esprit.verify.retests`).
"""

import os
import select
import threading
import time
import weakref
from typing import TYPE_CHECKING, Literal, Protocol

from esprit.errors import DataPlaneError, EngineRefused, NotFound
from esprit.verify import Retests

if TYPE_CHECKING:
    from esprit._native import DataPlane, Event

#: One that hung is reset first; one that computed wrongly is tested as it is.
How = Literal["reset", "verify"]


class Engines(Protocol):
    """Whose engines are kept: a pool."""

    def engine_name(self, number: int) -> str | None:
        """Return the name of an engine; None where there is none of that number."""

    def retest_engine(self, name: str, how: How) -> None:
        """Test an engine that is out of use, and take it in again.

        Raises:
            esprit.errors.EngineRefused: it failed.
            esprit.errors.NotFound: there is none of that name any more.
        """


class Keeper:
    """Follows the engines of one pool until it is stopped, or nobody has the pool any more."""

    def __init__(self, plane: "DataPlane", engines: Engines) -> None:
        self._plane = plane
        self._engines = weakref.ref(engines)
        self._retests = Retests()
        self._how: dict[str, How] = {}
        # A descriptor of its own: the data plane's says nothing once that is closed.
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._process = os.getpid()
        # The pool may be collected, and this stopped, on any thread at any time: on its own too.
        self._ending = threading.RLock()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="esprit-keeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait for its end."""
        if os.getpid() != self._process:
            return  # a fork has no such thread, and the descriptor is still its parent's
        with self._ending:
            if not self._ended:
                os.eventfd_write(self._stop, 1)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._keep()
        finally:
            with self._ending:
                self._ended = True
                os.close(self._stop)

    def _keep(self) -> None:
        poll = select.poll()
        poll.register(self._stop, select.POLLIN)
        poll.register(self._plane.event_fd(), select.POLLIN)
        while all(descriptor != self._stop for descriptor, _ in poll.poll(self._pause())):
            engines = self._engines()
            if engines is None:
                return
            for event in self._plane.events():
                self._hear(engines, event)
            for name in self._retests.take(time.monotonic_ns()):
                self._test(engines, name)
            del engines

    def _pause(self) -> int | None:
        """Milliseconds until the next test, rounded up."""
        due = self._retests.next()
        return None if due is None else max(0, -(-(due - time.monotonic_ns()) // 1_000_000))

    def _hear(self, engines: Engines, event: "Event") -> None:
        if event["kind"] == "lost":
            for number, seen in self._plane.snapshot()["engines"].items():
                if seen["health"] == "hung" and seen["outstanding"] == 0:
                    self._note(engines, number, "recovered", hung=True)
                elif seen["health"] == "quarantined":
                    self._note(engines, number, "quarantined", hung=False)
        elif event["kind"] == "engine" and "engine" in event:
            hung = event.get("health") == "hung"
            self._note(engines, event["engine"], event["event"], hung=hung)

    def _note(self, engines: Engines, number: int, what: str, *, hung: bool) -> None:
        name = engines.engine_name(number)
        if name is not None and self._retests.heard(name, what, time.monotonic_ns(), hung=hung):
            self._how[name] = "reset" if hung else "verify"

    def _test(self, engines: Engines, name: str) -> None:
        try:
            engines.retest_engine(name, self._how[name])
        except (EngineRefused, DataPlaneError):
            self._retests.plan(name, time.monotonic_ns(), patient=True)
        except NotFound:
            self._retests.forget(name)

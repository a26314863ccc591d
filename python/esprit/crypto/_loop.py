"""The end of a pool in an event loop: results become futures' results, and nothing blocks.

One descriptor per pool and loop says that there are results, or that there is room again. It
is watched only while something is under way.
"""

import asyncio
import itertools
from collections import deque
from typing import TYPE_CHECKING

from esprit import _native
from esprit.errors import EspritError, TaskFailed

if TYPE_CHECKING:
    from esprit._native import AeadKey, Requester, Work

#: Nonce, data, additional data.
Triple = tuple[bytes, bytes, bytes]

Result = asyncio.Future[bytes | None]


class LoopEnd:
    """What one event loop has under way. Used on that loop's thread only."""

    def __init__(self, requester: "Requester", loop: asyncio.AbstractEventLoop) -> None:
        self._requester = requester
        self._loop = loop
        self._completions = _native.Completions(requester)
        self._tags = itertools.count()
        self._begun: dict[int, Result] = {}
        self._waiting: deque[tuple[Result, AeadKey, Work, Triple]] = deque()
        self._listens = False

    def begin(self, key: "AeadKey", work: "Work", message: Triple) -> Result:
        """Begin a message, behind those that wait for room."""
        future: Result = self._loop.create_future()
        self._waiting.append((future, key, work, message))
        self._start_waiting()
        return future

    def _start_waiting(self) -> None:
        while self._waiting:
            future, key, work, message = self._waiting[0]
            if not future.done() and not self._start(future, key, work, message):
                break
            self._waiting.popleft()
        self._listen(bool(self._begun or self._waiting))

    def _start(self, future: Result, key: "AeadKey", work: "Work", message: Triple) -> bool:
        """Begin one; False where there is no room for it yet."""
        tag = next(self._tags)
        try:
            started = self._completions.start(tag, key, work, *message)
        except EspritError as error:
            future.set_exception(error)
            return True
        if started == "full":
            return False
        if started == "started":
            self._begun[tag] = future
            return True
        # Too long for the pool: a thread does it, not the loop.
        done = self._loop.run_in_executor(None, self._requester.run, key, work, [message])
        done.add_done_callback(lambda done: _pass_on(done, future))
        return True

    def _ready(self) -> None:
        for tag, output, failure in self._completions.take():
            future = self._begun.pop(tag)
            if future.done():  # its task was cancelled
                continue
            if failure:
                future.set_exception(TaskFailed(failure))
            else:
                future.set_result(output)
        self._start_waiting()

    def _listen(self, wanted: bool) -> None:
        if wanted == self._listens:
            return
        self._listens = wanted
        if wanted:
            self._loop.add_reader(self._completions.fd(), self._ready)
        else:
            self._loop.remove_reader(self._completions.fd())


def _pass_on(done: "asyncio.Future[list[bytes | None]]", future: Result) -> None:
    if future.done() or done.cancelled():
        return
    error = done.exception()
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(done.result()[0])

"""Events, from where they happen to everybody who listens."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from esprit.daemon.resources import EventResource

# Events that a slow listener may be behind by; then the oldest go, and it is told how many.
_BEHIND = 1024


class Listener:
    """One listener's bounded queue."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[EventResource | None] = asyncio.Queue()
        self._lost = 0

    def push(self, event: EventResource | None) -> None:
        """Add an event; none ends the stream."""
        if self._queue.qsize() >= _BEHIND:
            self._queue.get_nowait()
            self._lost += 1
        self._queue.put_nowait(event)

    async def __aiter__(self) -> AsyncIterator[EventResource]:
        while (event := await self._queue.get()) is not None:
            if self._lost:
                lost, self._lost = self._lost, 0
                yield {"kind": "lost", "time": event.get("time"), "count": lost}
            yield event


class EventBus:
    """Hands each event to every listener."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()

    def emit(self, event: EventResource) -> None:
        """Tell every listener."""
        for listener in self._listeners:
            listener.push(event)

    @contextmanager
    def listen(self) -> Iterator[Listener]:
        """Hear everything from now on until the block ends."""
        listener = Listener()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def close(self) -> None:
        """End every stream."""
        for listener in self._listeners:
            listener.push(None)

"""What a team reports while it is tried."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import esprit
from esprit.daemon.resources import EventResource


class Heard:
    """Events as they came, and the way to wait for one."""

    def __init__(self) -> None:
        self.events: list[EventResource] = []
        self._came = asyncio.Condition()

    @classmethod
    @asynccontextmanager
    async def of(cls, team: esprit.Team) -> AsyncIterator["Heard"]:
        """Listens to a team for a block."""
        heard = cls()
        task = asyncio.create_task(heard._listen(team))
        try:
            yield heard
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, esprit.EspritError):
                await task

    async def _listen(self, team: esprit.Team) -> None:
        async for event in team.events():
            async with self._came:
                self.events.append(event)
                self._came.notify_all()

    def find(self, kind: str, since: int, **like: object) -> EventResource | None:
        """The first event of a kind after a moment (nanoseconds) with these values."""
        for event in self.events:
            if (
                event["kind"] == kind
                and int(event.get("time") or 0) >= since
                and all(event.get(name) == value for name, value in like.items())
            ):
                return event
        return None

    async def wait(
        self, kind: str, since: int, *, patience: float = 10.0, **like: object
    ) -> EventResource | None:
        """As `find`, but waits for an event that is yet to come; None where it does not."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience), self._came:
                while (found := self.find(kind, since, **like)) is None:
                    await self._came.wait()
                return found
        return None

    def count(self, kind: str, since: int = 0, **like: object) -> int:
        """How many such events came."""
        return sum(
            event["kind"] == kind
            and int(event.get("time") or 0) >= since
            and all(event.get(name) == value for name, value in like.items())
            for event in self.events
        )

"""Looks at both teams while the demonstration runs: counters now and then, events as they come."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine

import esprit
from esprit.daemon.resources import EventResource
from esprit.demo.history import History, Sample, differences, shares
from esprit.demo.losses import UNNUMBERED, Losses, drops
from esprit.demo.traffic import Traffic
from esprit.demo.view import EngineLine, MemberLine, Status

#: Milliseconds between two looks. A look costs each team a snapshot and three answers.
EVERY = 200


def milliseconds() -> int:
    """Now, of the monotonic clock."""
    return time.monotonic_ns() // 1_000_000


class Watch:
    """What is known of both teams."""

    def __init__(self, left: esprit.Team, right: esprit.Team, traffic: Traffic) -> None:
        self.left = left
        self.right = right
        self.history = History()
        self.losses = Losses()
        self.events: list[EventResource] = []
        self._traffic = traffic
        self._heard = asyncio.Condition()
        self._looking = asyncio.Lock()

    async def look(self) -> Sample:
        """Asks both teams for their counters, now."""
        async with self._looking:
            await self.left.refresh()
            await self.right.refresh()
            left = [sa.resource for sa in self.left.sas.values()]
            right = [sa.resource for sa in self.right.sas.values()]
            self.losses.look((*left, *right))
            sample = self._sample()
            self.history.add(sample)
            return sample

    def _sample(self) -> Sample:
        members = {name: member.resource for name, member in self.left.members.items()}
        engines = {name: engine.resource for name, engine in self.left.engines.items()}
        return Sample(
            time=milliseconds(),
            engines={name: engine["bytes"] for name, engine in engines.items()},
            members={
                name: member["stats64"]["rx"]["bytes"] + member["stats64"]["tx"]["bytes"]
                for name, member in members.items()
            },
            health={name: engine["health"] for name, engine in engines.items()},
            active=tuple(self.left.resource["active"]),
            up=tuple(name for name, member in members.items() if member["operstate"] == "UP"),
            mode=self.left.resource["mode"],
        )

    def status(self) -> Status:
        """The run at this moment, for the eye."""
        now = milliseconds()
        samples = self.history.samples
        last = samples[-1]
        before = samples[-2] if len(samples) > 1 else last
        span = max(last.time - before.time, 1)
        rates = differences(before.members, last.members)
        parts = shares(differences(before.engines, last.engines))
        roles = {name: member.resource["role"] for name, member in self.left.members.items()}
        return Status(
            mode=last.mode,
            rate=sum(
                stream.series.rate(now - 600, now - 100)
                for stream in self._traffic.streams.values()
            ),
            verified=self._traffic.ledger.verified,
            members=[
                MemberLine(
                    name=name,
                    up=name in last.up,
                    role=roles.get(name, ""),
                    rate=rates.get(name, 0) * 8000 / span,
                )
                for name in last.members
            ],
            engines=[
                EngineLine(name=name, health=last.health[name], share=parts.get(name, 0.0))
                for name in last.engines
            ],
        )

    async def keep_looking(self, shown: Callable[[Status], None]) -> None:
        """Looks again and again; shows each time how it stands."""
        while True:
            await self.look()
            shown(self.status())
            await asyncio.sleep(EVERY / 1000)

    async def listen(self) -> None:
        """Takes down what left's team reports."""
        async for event in self.left.events():
            async with self._heard:
                self.events.append(event)
                self._heard.notify_all()

    async def heard_redone(self, since: int, *, patience: float = 2.0) -> bool:
        """Whether jobs were done again after a moment (nanoseconds), or are so in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience), self._heard:
                while not self.redone(since):
                    await self._heard.wait()
                return True
        return False

    async def heard(self, kind: str, since: int, *, patience: float = 10.0) -> EventResource | None:
        """The first event of a kind after a moment (nanoseconds), awaited if it is yet to come."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience), self._heard:
                while (found := self.find(kind, since)) is None:
                    await self._heard.wait()
                return found
        return None

    def find(self, kind: str, since: int) -> EventResource | None:
        """The first event of a kind after a moment, if it was heard already."""
        return next(
            (e for e in self.events if e["kind"] == kind and int(e["time"] or 0) >= since), None
        )

    @property
    def lost(self) -> int:
        """Packets that were lost so far: numbers missing at a receiver, and never numbered ones."""
        unnumbered = (
            count
            for counters in self.dropped().values()
            for reason, count in counters.items()
            if reason in UNNUMBERED
        )
        return self.losses.total + sum(unnumbered)

    def redone(self, since: int) -> int:
        """Jobs that one engine had and another did instead, after a moment (nanoseconds)."""
        return sum(
            int(event.get("jobs") or 0)
            for event in self.events
            if event["kind"] == "engine"
            and event.get("what") == "redone"
            and int(event["time"] or 0) >= since
        )

    def dropped(self) -> dict[str, dict[str, int]]:
        """Drops by reason, of either team with all its parts."""
        return {
            name: drops(
                team.resource["drops"],
                *(member.resource["drops"] for member in team.members.values()),
                *(sa.resource["drops"] for sa in team.sas.values()),
            )
            for name, team in (("left", self.left), ("right", self.right))
        }


@contextlib.asynccontextmanager
async def background(*work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Runs coroutines beside a block, and ends them with it; where one fails, all end."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()

"""What is done to the team while downloads run, one thing after the other, and what comes of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from esprit.demo.history import shares
from esprit.demo.keys import Keyring, Pair
from esprit.demo.lab import Host, Switch
from esprit.demo.result import Break
from esprit.demo.teams import SPARE
from esprit.demo.traffic import Traffic
from esprit.demo.watch import Watch, milliseconds

#: The time before an event from which the usual standstill is taken.
BEFORE = 2000
#: A download must have moved again within this many milliseconds.
PATIENCE = 15000

#: How often an engine is killed until it had a job in it.
KILLS = 5

#: What was done, in words, to be shown; None where there is nothing to add.
Notes = list[str]
Action = Callable[[], Awaitable[Notes]]


@dataclass(slots=True, kw_only=True)
class Breaker:
    """Does things to left's team."""

    left: Host
    switch: Switch
    keyring: Keyring
    traffic: Traffic
    watch: Watch
    #: The millisecond in which the downloads began.
    began: int
    #: How long traffic is watched after each event, in milliseconds.
    settle: int

    async def measured(
        self, title: str, what: str, action: Action, *, takeover: bool = False
    ) -> Break:
        """Does something and measures what the downloads notice of it.

        Args:
            title: a few words.
            what: a sentence.
            action: does it, and returns what else there is to say.
            takeover: whether the data plane will report that a member took over.
        """
        await self.watch.look()
        lost = self.watch.lost
        nanoseconds = time.monotonic_ns()
        start = nanoseconds // 1_000_000
        notes = await action()
        flowed = await self._flows(milliseconds())
        await asyncio.sleep(max(0, start + self.settle - milliseconds()) / 1000)
        sample = await self.watch.look()
        event = await self.watch.heard("takeover", nanoseconds) if takeover else None
        pause = self.traffic.longest_pause(start, sample.time - 200)
        usual = self.traffic.longest_pause(start - BEFORE, start)
        return Break(
            title=title,
            at=start - self.began,
            what=what,
            pause=None if pause is None else pause[1].length,
            stream=None if pause is None else pause[0],
            usual=None if usual is None else usual[1].length,
            takeover=None if event is None else (int(event["time"] or 0) - nanoseconds) / 1e6,
            # What was thought lost may only have been late.
            lost=max(0, self.watch.lost - lost),
            intact=self.traffic.ledger.intact,
            flowed=flowed,
            shares=shares(self.watch.history.engine_bytes(start + 300, sample.time)),
            notes=notes,
        )

    async def _flows(self, since: int) -> bool:
        """Waits until every download has moved again."""
        try:
            async with asyncio.timeout(PATIENCE / 1000):
                while any(s.series.last <= since for s in self.traffic.running()):
                    await self.traffic.moved()
        except TimeoutError:
            return False
        return True

    async def pull_active(self) -> Break:
        """The active member's link is pulled."""
        (active,) = self.watch.left.resource["active"]

        async def action() -> Notes:
            await asyncio.to_thread(self.switch.pull, self.left, active)
            return []

        return await self.measured(
            "active member's link pulled",
            f"the cable of {active}, which carries all traffic, is pulled at the switch",
            action,
            takeover=True,
        )

    async def insert(self, member: str) -> None:
        """A pulled cable is put back; returns when the team has seen it."""
        since = time.monotonic_ns()
        await asyncio.to_thread(self.switch.insert, self.left, member)
        await self.watch.heard("link", since)

    async def go_on_encrypting(self, member: str, engine: str) -> Break:
        """A member stays cut off from the wire; its engine works on for the others."""
        before = self.watch.left.engines[engine].resource["secondary_jobs"]

        async def action() -> Notes:
            if member in (await self.watch.look()).up:
                await asyncio.to_thread(self.switch.pull, self.left, member)
            return []

        result = await self.measured(
            "engine of a member without a wire",
            f"{member} is cut off from the wire; its engine goes on encrypting for the others",
            action,
        )
        done = self.watch.left.engines[engine].resource["secondary_jobs"] - before
        result.notes.append(f"{engine} did {done} jobs for other members meanwhile")
        return result

    async def kill_engine(self, name: str) -> Break:
        """An engine dies in the middle of a job."""
        since = time.monotonic_ns()

        async def action() -> Notes:
            for _ in range(KILLS):
                await self.watch.left.engines[name].fault("die")
                if await self.watch.heard_redone(since):
                    break
                # It was idle in that moment, so nothing died with it.
                await self.watch.left.engines[name].reset()
            return []

        result = await self.measured(
            "engine killed in the middle of a job",
            f"{name} dies with jobs in it",
            action,
        )
        result.notes.append(f"{self.watch.redone(since)} jobs were done again elsewhere")
        return result

    async def replace_member(self, out: str) -> Break:
        """A member is removed and another put in."""
        new = str(SPARE["interface"])

        async def action() -> Notes:
            left, right = self.watch.left, self.watch.right
            await left.members[out].remove()
            for pair in self.keyring.current:
                if pair.member == out:
                    await left.sas[pair.name].delete()
                    self.keyring.forget(pair)
            await left.add_member(SPARE)
            for pair in self.keyring.bundle(new):
                await right.add_sa(pair.table("right"))
                await left.add_sa(pair.table("left"))
            return []

        return await self.measured(
            "member replaced",
            f"{out} is removed from the running team and {new} put in",
            action,
        )

    async def replace_sas(self) -> Break:
        """Every SA is replaced, make before break."""

        async def action() -> Notes:
            pairs = self.keyring.current
            for pair in pairs:
                await self._replace(pair)
            return [f"{len(pairs)} SAs have new keys and SPIs"]

        return await self.measured(
            "SAs replaced", "every SA gets a new key, make before break", action
        )

    async def _replace(self, pair: Pair) -> None:
        teams = {"left": self.watch.left, "right": self.watch.right}
        sender, receiver = teams[pair.sender], teams[pair.receiver]
        new = self.keyring.make(pair.connection, pair.sender, pair.member)
        # The receiver understands the new one before the sender speaks it.
        await receiver.sas[pair.name].replace(new.table(pair.receiver))
        await sender.sas[pair.name].replace(new.table(pair.sender))
        await self.watch.look()
        old = next(
            (sa for sa in receiver.sas.values() if int(sa.resource["spi"], 16) == pair.spi), None
        )
        if old is not None:
            await old.delete()

    async def change_mode(self, mode: str) -> Break:
        """The running team changes its mode."""

        async def action() -> Notes:
            await self.watch.left.set_mode(mode)
            return []

        result = await self.measured(
            f"mode changed to {mode}",
            f"the running team changes from {self.watch.left.mode} to {mode}",
            action,
        )
        carried = self.watch.history.member_bytes(
            self.began + result.at + 300, self.watch.history.samples[-1].time
        )
        busy = [name for name, size in carried.items() if size > 1 << 20]
        result.notes.append(f"{', '.join(busy)} carry traffic at the same time")
        return result

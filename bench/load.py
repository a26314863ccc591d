"""Numbered packets from left to right at a constant rate, and the account of all of them."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.counters import Counts, Whereabouts
from bench.pair import SECRET, Pair, rest
from bench.tools import Program
from bench.trial import say
from esprit.demo.teams import ADDRESS

#: Reasons by which the peer drops a packet that has a wrong byte somewhere.
CORRUPT = (
    "malformed",
    "header-checksum",
    "esp-malformed",
    "no-sa",
    "icv",
    "trailer",
    "inner-malformed",
    "inbound-policy",
)


class Load:
    """A sender and a receiver at work; when the block is over, what became of every packet."""

    def __init__(
        self, found: Pair, sender: Program, receiver: Program, before: Counts, gso: int
    ) -> None:
        self._found = found
        self._sender = sender
        self._receiver = receiver
        self._before = before
        self._gso = gso
        #: Records written down so far.
        self._written = 0
        #: The programs' last words, once the block is over.
        self.sent: dict[str, Any] = {}
        self.received: dict[str, Any] = {}
        self.counts = before

    @classmethod
    @asynccontextmanager
    async def on(
        cls,
        found: Pair,
        *,
        rate: int,
        size: int,
        gso: int = 1,
        flows: int = 1,
        tick_us: int = 100,
        take: Path | None = None,
    ) -> AsyncIterator["Load"]:
        """Sends for as long as the block lasts.

        Args:
            found: the teams.
            rate: packets/s, of all flows together.
            size: of a packet's payload, in bytes.
            gso: packets in one super-frame of the sender's.
            flows: UDP flows; each is a stream with numbers of its own.
            tick_us: microseconds between two looks at what is due.
            take: where records go.
        """
        before = await found.counts()
        receiver = await found.tools.receive(found.receiver, SECRET, take)
        sender = await found.tools.send(
            found.sender,
            ADDRESS["right"],
            SECRET,
            rate=rate,
            size=size,
            gso=gso,
            flows=flows,
            tick_us=tick_us,
            needle=found.needle.hex(),
        )
        load = cls(found, sender, receiver, before, gso)
        yield load
        await load._finish()

    async def _finish(self) -> None:
        self.sent = await self._sender.finish()
        await rest(self._receiver)
        self.received = await self._receiver.finish()
        counts = (await self._found.counts()).since(self._before)
        # The virtual NIC counts frames that it drops, and each was a whole super-frame.
        self.counts = replace(counts, tap=counts.tap * self._gso)

    async def arrived(self, since: int, patience: float = 10.0) -> bool:
        """Waits until a packet that was sent after a moment came; false where none does."""
        loop = asyncio.get_running_loop()
        end = loop.time() + patience
        while int((await self.count())["latest"]) < since:
            if loop.time() > end:
                return False
            await asyncio.sleep(0.02)
        return True

    async def count(self) -> dict[str, Any]:
        """What came so far."""
        return await self._receiver.ask("count")

    async def take(self, since: int) -> tuple[int, int]:
        """Has the records of packets that came after a moment written down.

        Returns:
            The first of these records in the file, and how many they are.
        """
        start, count = self._written, int((await self._receiver.ask(f"take {since}"))["records"])
        self._written += count
        return start, count

    @property
    def rate(self) -> float:
        """Packets/s that the sender reached."""
        return float(self.sent["rate"])

    @property
    def whereabouts(self) -> Whereabouts:
        """Where packets were lost, over the whole block."""
        return Whereabouts.of(int(self.sent["sent"]), int(self.received["received"]), self.counts)

    def wrong(self, *, order: bool = True) -> list[str]:
        """What must never happen and did.

        Args:
            order: whether each stream must have kept its order.
        """
        found = []
        if self.received["duplicates"]:
            found.append(f"{self.received['duplicates']} packets came twice")
        if order and self.received["reordered"]:
            found.append(f"{self.received['reordered']} packets came out of order")
        if self.whereabouts.uncounted > 0:
            found.append(f"{self.whereabouts.uncounted} packets were lost in our hands, uncounted")
        for reason in CORRUPT:
            if self.counts.right.get(reason):
                found.append(f"the peer dropped {self.counts.right[reason]} packets: {reason}")
        return found

    def report(self) -> dict[str, Any]:
        """All of it, for the file."""
        return {
            "sent": self.sent,
            "received": self.received,
            "left_drops": self.counts.left,
            "right_drops": self.counts.right,
            "sealed": self.counts.sealed,
            "accepted": self.counts.accepted,
            "before_us": self.counts.tap,
            "unread": self.counts.unread,
        }


#: A rate counts as carried where so much of it is sent and arrives, and where no packet is under
#: way for longer than this: otherwise a gap would be the time that a queue takes to empty.
CARRIED = 0.99
UNDER_WAY_NS = 20_000_000
#: The next rate that is tried, and how often.
_LESS = 0.9
_TRIES = 24


async def carried(
    found: Pair, rate: int, *, size: int, gso: int = 1, flows: int = 1, seconds: float = 1.0
) -> int:
    """The highest rate, not above the wanted one, that both teams and this machine carry now."""
    for attempt in range(_TRIES):
        async with Load.on(found, rate=rate, size=size, gso=gso, flows=flows) as load:
            await asyncio.sleep(seconds)
            late = time.monotonic_ns() - int((await load.count())["latest"])
        arrived = load.received["received"] / max(1, load.sent["sent"])
        if load.rate >= CARRIED * rate and arrived >= CARRIED and late <= UNDER_WAY_NS:
            return rate
        say(
            f"{rate:,} packets/s are too many: sent {load.rate:,.0f}, "
            f"arrived {arrived:.1%}, under way {late / 1e6:.0f} ms"
        )
        # A machine that was busy with something else for a moment is asked again.
        if attempt % 2 == 1:
            rate = int(rate * _LESS)
    return rate

"""What a learning switch learns: addresses, and how often one moves to another port."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from esprit.demo.lab import Switch, tell


class Moves:
    """Where each address was seen last, and how often that changed."""

    def __init__(self) -> None:
        self.ports: dict[str, str] = {}
        self.moves: dict[str, int] = {}

    def take(self, line: str) -> None:
        """Takes a line of `bridge monitor fdb` or of `bridge fdb show`."""
        words = line.split()
        # What the kernel itself entered for its ports is no learning.
        if len(words) < 3 or words[1] != "dev" or "permanent" in words:
            return
        address, port = words[0], words[2]
        before = self.ports.get(address)
        if before is not None and before != port:
            self.moves[address] = self.moves.get(address, 0) + 1
        self.ports[address] = port

    def take_all(self, lines: Iterable[str]) -> None:
        """Takes several lines."""
        for line in lines:
            self.take(line)

    @property
    def total(self) -> int:
        """All moves of all addresses."""
        return sum(self.moves.values())


@asynccontextmanager
async def watched(switch: Switch) -> AsyncIterator[Moves]:
    """Counts address moves for a block; the count is whole when the block is over."""
    process = await asyncio.create_subprocess_exec(
        *switch.inside("stdbuf", "-oL", "bridge", "monitor", "fdb"),
        stdout=asyncio.subprocess.PIPE,
        process_group=0,
    )
    moves = Moves()
    task = asyncio.create_task(_read(process, moves))
    known = await asyncio.to_thread(switch.run, "bridge", "fdb", "show", "br", switch.BRIDGE)
    moves.take_all(known.splitlines())
    try:
        yield moves
    finally:
        tell(process, signal.SIGTERM)
        await process.wait()
        await task


async def _read(process: asyncio.subprocess.Process, moves: Moves) -> None:
    assert process.stdout is not None  # noqa: S101 - it was asked for
    async for line in process.stdout:
        moves.take(line.decode(errors="replace"))

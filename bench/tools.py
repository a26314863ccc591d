"""The programs of `numbered`, each in a namespace: started, given orders, ended."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

from bench.lab import BenchError
from esprit.demo.lab import Host, tell

#: An answer of `ping` holds thousands of round trips.
_LINE_LIMIT = 64 << 20
#: How long a program may take to answer or to end.
_PATIENCE = 30.0


class Program:
    """A running program that answers in lines of JSON and ends with its input."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process

    @classmethod
    async def start(cls, host: Host, *command: str) -> Self:
        """Starts it in a host."""
        process = await asyncio.create_subprocess_exec(
            *host.inside(*command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_LIMIT,
            process_group=0,
        )
        return cls(Path(command[0]).name + " " + command[1], process)

    async def answer(self, patience: float = _PATIENCE) -> dict[str, Any]:
        """The next line that it says.

        Raises:
            BenchError: it ended, or said nothing in time.
        """
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        try:
            async with asyncio.timeout(patience):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise BenchError(f"{self.name} says nothing") from None
        if not line:
            raise BenchError(f"{self.name} ended; its last words are above")
        return dict(json.loads(line))

    async def ask(self, order: str) -> dict[str, Any]:
        """Gives an order and returns the answer."""
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.write(order.encode() + b"\n")
        await self._process.stdin.drain()
        return await self.answer()

    def end_input(self) -> None:
        """Tells it to come to an end."""
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.close()

    async def finish(self) -> dict[str, Any]:
        """Ends it and returns its last word."""
        self.end_input()
        said = await self.answer()
        await self._process.wait()
        return said

    async def kill(self) -> None:
        """Ends it, whatever it is doing."""
        tell(self._process, signal.SIGKILL)
        await self._process.wait()


class Numbered:
    """Where `numbered` is, and what is started of it; all of it ends with the block."""

    def __init__(self, program: Path, stack: AsyncExitStack) -> None:
        self._program = str(program)
        self._stack = stack

    async def _start(self, host: Host, *words: str, ready: bool) -> Program:
        started = await Program.start(host, self._program, *words)
        self._stack.push_async_callback(started.kill)
        if ready:
            await started.answer()
        return started

    async def receive(self, host: Host, port: int, take: Path | None = None) -> Program:
        """A receiver that listens; its records go to `take`."""
        words = [] if take is None else [f"take={take}"]
        return await self._start(host, "receive", str(port), *words, ready=True)

    async def send(self, host: Host, to: str, port: int, **options: object) -> Program:
        """A sender at work."""
        words = [f"{key.replace('_', '-')}={value}" for key, value in options.items()]
        return await self._start(host, "send", f"{to}:{port}", *words, ready=False)

    async def echo(self, host: Host, port: int) -> Program:
        """What answers round trips."""
        return await self._start(host, "echo", str(port), ready=True)

    async def ping(self, host: Host, to: str, port: int, every_us: int) -> Program:
        """What makes them."""
        return await self._start(host, "ping", f"{to}:{port}", f"every-us={every_us}", ready=False)

    async def links(self, host: Host) -> "Links":
        """What hears of a host's links."""
        return Links(await self._start(host, "links", ready=True))


class Links:
    """When the kernel said that a link rose or fell."""

    def __init__(self, program: Program) -> None:
        self._program = program

    async def next(self, ifindex: int, *, up: bool, since: int, patience: float = 10.0) -> int:
        """The moment of the next change of one link to a state, after a moment.

        Raises:
            BenchError: it did not come in time.
        """
        while True:
            said = await self._program.answer(patience)
            if (said["ifindex"], said["up"]) == (ifindex, up) and said["time"] >= since:
                return int(said["time"])


@asynccontextmanager
async def numbered(programs: Path) -> AsyncIterator[Numbered]:
    """The programs of `numbered`, for a block.

    Raises:
        BenchError: it was not built.
    """
    program = programs / "numbered"
    if not program.exists():
        raise BenchError(f"{program} is not there: run `cargo build --release -p numbered`")
    async with AsyncExitStack() as stack:
        yield Numbered(program.absolute(), stack)


def summed(many: Sequence[dict[str, int]]) -> dict[str, int]:
    """Counts by name, added up."""
    total: dict[str, int] = {}
    for one in many:
        for name, count in one.items():
            total[name] = total.get(name, 0) + count
    return total

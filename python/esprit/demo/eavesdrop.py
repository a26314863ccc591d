"""The eavesdropper as the demonstration and the tests use it."""

import asyncio
import json
import signal
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from esprit.demo.lab import Host, tell

#: The report holds samples and evidence of every port in hexadecimal.
_LINE_LIMIT = 256 << 20
#: How long it may take to start or to hand over what was seen.
_PATIENCE = 20.0


class EavesdropperError(Exception):
    """The eavesdropper did not start or ended early: nothing can be said of what passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What passed one port in both directions."""

    port: str
    frames: int
    volume: int
    #: ESP frames, native or UDP-encapsulated, and IP frames that are neither.
    esp: int
    plain: int
    #: Frames that the eavesdropper itself missed: none, or its word counts for nothing.
    drops: int
    #: In how many frames each needle stood, and the first of those frames.
    found: tuple[int, ...]
    hits: tuple[bytes, ...]
    #: Pairs of a super-frame's segment size, or 0, and an ESP frame.
    samples: tuple[tuple[int, bytes], ...]


class Eavesdropper:
    """Listens on every given port of a switch until it is asked what it saw."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(
        cls,
        host: Host,
        ports: Iterable[str],
        needles: Sequence[bytes],
        *,
        sample_every: int = 499,
        keep: int = 48,
    ) -> "Eavesdropper":
        """Starts listening; on return every port is heard.

        Args:
            host: the switch.
            ports: its interfaces.
            needles: what no frame should hold.
            sample_every: of so many ESP frames one is kept.
            keep: how many are kept of each port.

        Raises:
            EavesdropperError: a port could not be listened on.
        """
        process = await asyncio.create_subprocess_exec(
            *host.inside(sys.executable, "-m", "esprit.demo.listener"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_LIMIT,
            process_group=0,
        )
        eavesdropper = cls(process)
        order = {
            "ports": list(ports),
            "needles": [needle.hex() for needle in needles],
            "sample_every": sample_every,
            "keep": keep,
        }
        assert process.stdin is not None  # noqa: S101 - it was asked for above
        process.stdin.write(json.dumps(order).encode() + b"\n")
        try:
            await eavesdropper._answer("ready")
        except BaseException:
            await eavesdropper.kill()
            raise
        return eavesdropper

    async def stop(self) -> dict[str, Seen]:
        """Stops listening and tells what passed each port.

        Raises:
            EavesdropperError: it had ended before, on one port or on all.
        """
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.close()
        try:
            answer = await self._answer("seen")
        finally:
            await self.kill()
        ended = [
            f"{port}: {seen['ended']}" for port, seen in answer["ports"].items() if seen["ended"]
        ]
        if ended:
            raise EavesdropperError("; ".join(ended))
        return {
            port: Seen(
                port=port,
                frames=seen["frames"],
                volume=seen["bytes"],
                esp=seen["esp"],
                plain=seen["plain"],
                drops=seen["drops"],
                found=tuple(seen["found"]),
                hits=tuple(bytes.fromhex(frame) for frame in seen["hits"]),
                samples=tuple((size, bytes.fromhex(frame)) for size, frame in seen["samples"]),
            )
            for port, seen in answer["ports"].items()
        }

    async def kill(self) -> None:
        """Ends the process, whatever it is doing."""
        tell(self._process, signal.SIGKILL)
        await self._process.wait()

    async def _answer(self, kind: str) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        try:
            async with asyncio.timeout(_PATIENCE):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise EavesdropperError("the eavesdropper does not answer") from None
        answer = json.loads(line) if line else {}
        if answer.get("report") != kind:
            raise EavesdropperError("the eavesdropper ended; its last words are above")
        return dict(answer)

"""The two hosts' stations, and all that they report."""

import asyncio
import json
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from esprit.demo.lab import Host, tell
from esprit.demo.series import Ledger, Pause, Series

#: TCP ports: whatever comes from one is of one kind. `secret` is protected by policy; the others
#: are let through by policy in plaintext, so that the eavesdropper can prove that it would see:
#: `open` without a VLAN tag, `tagged` with one.
PORTS = {"secret": 8080, "open": 8081, "tagged": 8082}
#: A stream's report line holds a digest and at most the bins of some hundred milliseconds.
LINE_LIMIT = 1 << 20


class TrafficError(Exception):
    """A station or one of its downloads failed."""


@dataclass(slots=True, kw_only=True)
class Stream:
    """One HTTP connection over which objects are fetched."""

    name: str
    server: str
    client: str
    series: Series = field(default_factory=Series)
    retransmits: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    error: str | None = None


class Traffic:
    """Stations in both hosts, the streams between them and the ledger over all."""

    def __init__(self, canaries: Mapping[str, bytes]) -> None:
        self.streams: dict[str, Stream] = {}
        self.ledger = Ledger()
        self._canaries = {kind: canary.hex() for kind, canary in canaries.items()}
        self._stations: dict[str, asyncio.subprocess.Process] = {}
        self._readers: list[asyncio.Task[None]] = []
        self._progress = asyncio.Event()

    async def open(self, hosts: Iterable[Host]) -> None:
        """Starts a station in each host and waits until it listens."""
        for host in hosts:
            station = await asyncio.create_subprocess_exec(
                *host.inside(sys.executable, "-m", "esprit.demo.station"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=LINE_LIMIT,
                process_group=0,
            )
            self._stations[host.role] = station
            self._order(host.role, canaries=self._canaries, ports=PORTS)
        for role, station in self._stations.items():
            assert station.stdout is not None  # noqa: S101 - it was asked for above
            if b'"ready"' not in await station.stdout.readline():
                raise TrafficError(f"the station in {role} did not start")
            self._readers.append(asyncio.create_task(self._read(role, station.stdout)))

    async def close(self) -> None:
        """Ends the stations."""
        for station in self._stations.values():
            if station.stdin is not None:
                station.stdin.close()
        for station in self._stations.values():
            try:
                await asyncio.wait_for(station.wait(), timeout=5)
            except TimeoutError:
                tell(station, signal.SIGKILL)
                await station.wait()
        await asyncio.gather(*self._readers, return_exceptions=True)

    def get(
        self,
        name: str,
        *,
        client: str,
        server: str,
        address: str,
        size: int,
        rate: int = 0,
        kind: str = "secret",
    ) -> Stream:
        """Makes `client` fetch objects of `size` bytes, one after the other, until `finish`.

        Args:
            name: the stream's name.
            client: the host that fetches.
            server: the host that serves.
            address: the address to fetch from.
            size: bytes of an object.
            rate: bytes per second at most; 0 is as fast as TCP can.
            kind: which canary, and so which port.
        """
        stream = Stream(name=name, server=server, client=client)
        self.streams[name] = stream
        self._order(client, order="get", stream=name, host=address, kind=kind, size=size, rate=rate)
        return stream

    async def finish(self, *streams: Stream, patience: float = 60.0) -> None:
        """Lets streams complete the object under way.

        Raises:
            TrafficError: a download failed or did not end in time.
        """
        for stream in streams:
            self._order(stream.client, order="finish", stream=stream.name)
        try:
            async with asyncio.timeout(patience):
                await asyncio.gather(*(stream.ended.wait() for stream in streams))
        except TimeoutError:
            late = ", ".join(stream.name for stream in streams if not stream.ended.is_set())
            raise TrafficError(f"downloads that did not end: {late}") from None
        failed = [f"{stream.name}: {stream.error}" for stream in streams if stream.error]
        if failed:
            raise TrafficError("; ".join(failed))

    async def all_moving(self, streams: Iterable[Stream], *, patience: float = 20.0) -> None:
        """Waits until each stream has received something.

        Raises:
            TrafficError: one did not in time, or failed.
        """
        waiting = list(streams)
        try:
            async with asyncio.timeout(patience):
                while any(not s.series.total and not s.ended.is_set() for s in waiting):
                    await self.moved()
        except TimeoutError:
            pass
        stuck = [s.error or s.name for s in waiting if not s.series.total]
        if stuck:
            raise TrafficError(f"downloads that do not begin: {', '.join(stuck)}")

    async def moved(self) -> None:
        """Returns when a station has reported again."""
        self._progress.clear()
        await self._progress.wait()

    def running(self) -> list[Stream]:
        """The streams that have not ended."""
        return [stream for stream in self.streams.values() if not stream.ended.is_set()]

    def longest_pause(self, begin: int, end: int) -> tuple[str, Pause] | None:
        """The longest pause of any one stream between two milliseconds, and its stream."""
        pauses = [
            (stream.name, pause)
            for stream in self.streams.values()
            if (pause := stream.series.longest_pause(begin, end)) is not None
        ]
        return max(pauses, key=lambda item: item[1].length, default=None)

    def _order(self, role: str, **order: object) -> None:
        stdin = self._stations[role].stdin
        assert stdin is not None  # noqa: S101 - it was asked for
        stdin.write(json.dumps(order).encode() + b"\n")

    async def _read(self, role: str, reports: asyncio.StreamReader) -> None:
        async for line in reports:
            self._take(json.loads(line))
            self._progress.set()
        for stream in self.streams.values():
            if stream.client == role and not stream.ended.is_set():
                stream.error = f"the station in {role} ended"
                stream.ended.set()

    def _take(self, report: dict[str, object]) -> None:
        match report:
            case {"report": "progress", "stream": str(name), "bins": list(bins)}:
                self.streams[name].series.add(bins)
            case {"report": "got", "object": str(name), "offset": int(offset), "sha256": str(sha)}:
                self.ledger.got(name, offset, sha)
            case {
                "report": "sent",
                "stream": str(stream),
                "object": str(name),
                "offset": int(offset),
                "sha256": str(sha),
                "retransmits": int(count),
            }:
                self.ledger.sent(name, offset, sha)
                self.streams[stream].retransmits = count
            case {"report": "end", "stream": str(name), "error": error}:
                self.streams[name].error = None if error is None else str(error)
                self.streams[name].ended.set()
            case _:
                raise TrafficError(f"a station reported {report}")

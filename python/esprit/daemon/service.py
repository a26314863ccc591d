"""The service: the teams of one process, their sockets, and what happens to them.

One lock stands before every change, whoever asks for it, so that a Plan is never computed
from a state that another change is halfway through.
"""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from esprit.control.apply import put_back
from esprit.control.dataplane import DataPlane
from esprit.control.host import Host, Keys
from esprit.control.netlink import Netlink
from esprit.control.paths import marks_directory, socket_path
from esprit.control.state import Journal
from esprit.control.team import RunningTeam
from esprit.control.watch import Change, changes
from esprit.daemon import server
from esprit.daemon.app import build
from esprit.daemon.events import EventBus
from esprit.errors import EspritError, PrivilegeError
from esprit.model import TeamConfig
from esprit.model.event import Panicked, from_native

T = TypeVar("T")
_log = logging.getLogger("esprit")

# Inbound SAs' highest numbers are looked at, and neighbours refreshed where the kernel does
# not do so by itself, this often: well below the 30 s after which a neighbour goes stale.
_TICK_S = 5.0
# Load is measured this often where a Plan follows from it: flows are moved by the average of
# many such seconds.
_MEASURE_S = 1.0
# Netlink speaks in bursts; what comes within this time is looked at together.
_SETTLE_S = 0.02

# CAP_NET_ADMIN and CAP_NET_RAW (linux/capability.h): links and nftables, packet sockets.
_CAP_NET_ADMIN = 12
_CAP_NET_RAW = 13


@dataclass(slots=True)
class Served:
    """A team with its socket and its listeners."""

    team: RunningTeam
    bus: EventBus


def demand_privilege() -> None:
    """Refuse to start without the rights that every later step needs.

    Raises:
        PrivilegeError: the process has not CAP_NET_ADMIN and CAP_NET_RAW here.
    """
    with Path("/proc/self/status").open(encoding="ascii") as status:
        effective = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff"))
    for bit in (_CAP_NET_ADMIN, _CAP_NET_RAW):
        if not effective >> bit & 1:
            raise PrivilegeError("esprit up")


def settle_memory() -> None:
    """Tell the garbage collector that what there is now will stay.

    A configuration of 100,000 SAs is some million objects, and a full collection that walks them
    takes tenths of a second, in which no Plan is published. They live until they are deleted, by
    their reference counts; what comes later is still collected.
    """
    gc.collect()
    gc.freeze()


class Service:
    """The process that ``esprit up`` is."""

    def __init__(self, configs: Sequence[TeamConfig], *, force: bool = False) -> None:
        self._configs = configs
        self._force = force
        self._lock = asyncio.Lock()
        self._served: list[Served] = []
        self._waiting: list[Change] = []
        self._changed = asyncio.Event()
        self._spoke = asyncio.Event()
        self._stop = asyncio.Event()
        self.left_over: list[str] = []

    async def plan(self) -> list[str]:
        """Say what would be done, and change nothing.

        Raises:
            EspritError: what is in the way.
        """
        lines: list[str] = []
        async with Netlink() as netlink:
            for wanted in self._configs:
                lines += await dry_run(netlink, wanted, force=self._force)
        return lines

    async def run(
        self, load: Callable[[], DataPlane], ready: Callable[[Sequence[RunningTeam]], None]
    ) -> None:
        """Run the teams until :meth:`stop`, SIGTERM, SIGINT or a hangup; then put everything back.

        Args:
            load: makes the data plane.
            ready: called once every team is up and answers on its socket.

        Raises:
            EspritError: why the teams could not be started; everything has been put back.
        """
        demand_privilege()
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as signals:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.add_signal_handler(number, self.stop)
                signals.callback(loop.remove_signal_handler, number)
            journal = Journal.open()
            try:
                async with Netlink() as netlink:
                    await self._run_with(journal, netlink, load, ready)
            finally:
                journal.close()

    async def _run_with(
        self,
        journal: Journal,
        netlink: Netlink,
        load: Callable[[], DataPlane],
        ready: Callable[[Sequence[RunningTeam]], None],
    ) -> None:
        listeners = []
        try:
            for wanted in self._configs:
                path = socket_path(wanted.team.name)
                listeners.append((path, server.bind(path)))
            plane = load()
            try:
                host = Host(plane, netlink, journal, Keys(marks_directory()))
                await self._put_back_abandoned(journal, netlink)
                try:
                    await self._start_all(host)
                    settle_memory()
                    await self._serve(host, listeners, ready)
                finally:
                    await self._stop_all()
            finally:
                plane.close()
        finally:
            for path, listener in listeners:
                listener.close()
                path.unlink(missing_ok=True)

    async def _put_back_abandoned(self, journal: Journal, netlink: Netlink) -> None:
        """Put back what a killed process left of teams that nobody wants any more."""
        wanted = {one.team.name for one in self._configs}
        for team in [name for name in journal.teams if name not in wanted]:
            self.left_over += await put_back(netlink, journal, team)

    async def _start_all(self, host: Host) -> None:
        for wanted in self._configs:
            bus = EventBus()
            team = RunningTeam(host, wanted, bus.emit)
            await team.start(force=self._force)
            self._served.append(Served(team, bus))

    async def _stop_all(self) -> None:
        for served in reversed(self._served):
            self.left_over += await served.team.stop()
            served.bus.close()
        self._served.clear()

    def stop(self) -> None:
        """Ask the service to end."""
        self._stop.set()

    async def _serve(
        self,
        host: Host,
        listeners: Sequence[tuple[Path, socket.socket]],
        ready: Callable[[Sequence[RunningTeam]], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            for served, (path, listener) in zip(self._served, listeners, strict=True):
                app = build(served.team, served.bus, self.locked)
                await stack.enter_async_context(server.serve(app, listener, path))
            spoken = asyncio.Event()
            descriptor = host.plane.event_fd()
            loop.add_reader(descriptor, spoken.set)
            stack.callback(loop.remove_reader, descriptor)
            tasks = [
                asyncio.create_task(self._hear(host.plane, spoken)),
                asyncio.create_task(self._watch()),
                asyncio.create_task(self._attend()),
                asyncio.create_task(self._tick()),
                asyncio.create_task(self._measure()),
                asyncio.create_task(self._on_time()),
            ]
            stop = asyncio.create_task(self._stop.wait())
            try:
                ready([served.team for served in self._served])
                await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
            finally:
                # Event streams end first: a server waits for its requests.
                for served in self._served:
                    served.bus.close()
                for task in (stop, *tasks):
                    task.cancel()
                results = await asyncio.gather(stop, *tasks, return_exceptions=True)
            for result in results[1:]:
                if isinstance(result, OSError):
                    raise EspritError(
                        "netlink",
                        f"tells nothing any more: {result.strerror or result}",
                        remedy="start esprit again",
                    ) from result
                if isinstance(result, Exception):
                    raise result

    async def locked(self, change: Callable[[], Awaitable[T]]) -> T:
        """Make a change while nobody else makes one."""
        async with self._lock:
            try:
                return await change()
            finally:
                self._spoke.set()

    # what happens by itself

    async def _hear(self, plane: DataPlane, spoken: asyncio.Event) -> None:
        while True:
            await spoken.wait()
            spoken.clear()
            for found in plane.events():
                event = from_native(found)
                async with self._lock:
                    for served in self._served:
                        await self._guarded(served, served.team.upkeep.happened(event))
                self._spoke.set()
                if isinstance(event, Panicked):
                    # The virtual NIC stays: without it the host would find another way for
                    # what is to be protected. Its doors are closed until the next start.
                    _log.critical(
                        "a thread of the data plane failed: %s; nothing passes any more, "
                        "end esprit and start it again",
                        event.message,
                    )

    async def _watch(self) -> None:
        async for change in changes():
            self._waiting.append(change)
            self._changed.set()

    async def _attend(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(_SETTLE_S)
            self._changed.clear()
            waiting, self._waiting = self._waiting, []
            async with self._lock:
                for served in self._served:
                    await self._guarded(served, served.team.upkeep.changed(waiting))
            self._spoke.set()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            async with self._lock:
                for served in self._served:
                    await self._guarded(served, served.team.upkeep.tick())

    async def _measure(self) -> None:
        while True:
            await asyncio.sleep(_MEASURE_S)
            async with self._lock:
                for served in self._served:
                    if served.team.upkeep.measures:
                        await self._guarded(served, served.team.upkeep.measure())
            self._spoke.set()

    async def _on_time(self) -> None:
        """Do what the time has come for: one timer, set anew by everything that happens."""
        while True:
            due = [at for one in self._served if (at := one.team.upkeep.next_due()) is not None]
            wait = max(0.0, (min(due) - time.monotonic_ns()) / 1e9) if due else None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._spoke.wait(), wait)
            self._spoke.clear()
            async with self._lock:
                for served in self._served:
                    await self._guarded(served, served.team.upkeep.due())

    async def _guarded(self, served: Served, work: Awaitable[None]) -> None:
        """Tell of a failure instead of ending: the data plane goes on by the last Plan."""
        try:
            await work
        except Exception as error:
            if not isinstance(error, (EspritError, OSError)):
                _log.exception("%s: an error of Esprit itself", served.team.name)
            served.bus.emit({"kind": "error", "team": served.team.name, "message": str(error)})


async def dry_run(netlink: Netlink, wanted: TeamConfig, *, force: bool) -> list[str]:
    """Check a team against the system, and say what starting it would do."""
    from esprit.control import ethtool
    from esprit.control.checks import check_member
    from esprit.control.mtu import team_mtu

    name = wanted.team.name
    lines = []
    mtus = []
    for member in wanted.members:
        link = await check_member(
            netlink,
            member.interface,
            force=force,
            allow=wanted.team.allow,
            deny=wanted.team.deny,
        )
        mtus.append(link.mtu)
        lines.append(f"{member.interface}: shut to the host stack (nftables netdev esprit)")
        lines += [
            f"{member.interface}: {feature} {'on' if on else 'off'}"
            for feature, on in ethtool.wanted_changes(member.interface)
        ]
        if not link.up:
            lines.append(f"{member.interface}: set up")
    mtu = wanted.team.mtu or team_mtu(mtus, wanted.sas)
    lines.append(f"{name}: make the virtual NIC, mtu {mtu}, mode {wanted.team.mode}")
    for engine, owner in wanted.all_engines():
        simulated = " (simulated)" if engine.simulated else ""
        of = f" of {owner}" if owner else ""
        lines.append(f"{name}: engine {engine.name}{of}, {engine.kind}{simulated}")
    lines += [f"{name}: policy {one.name} {one.action}" for one in wanted.policies]
    lines += [f"{name}: SA {sa.name} {sa.direction} spi {sa.spi:#010x}" for sa in wanted.sas]
    lines += [f"{name}: address {address}" for address in wanted.team.addresses]
    lines += [
        f"{name}: route {route.to}" + (f" via {route.via}" if route.via else "")
        for route in wanted.team.routes
    ]
    return lines

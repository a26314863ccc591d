"""A team over a data plane in memory, served on a real Unix socket."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar, cast

from tests.unit.fake_plane import FakePlane
from tests.unit.fake_system import FakeSystem

from esprit import config
from esprit.control.host import Host, Keys
from esprit.control.netlink import Netlink
from esprit.control.paths import socket_path
from esprit.control.state import Journal
from esprit.control.team import RunningTeam
from esprit.daemon import server
from esprit.daemon.app import build
from esprit.daemon.events import EventBus

T = TypeVar("T")

TEXT = """
[team]
name = "team0"
address = "10.0.0.1/24"
[[member]]
interface = "eth1"
[member.engine]
kind = "asic"
rate = "10G"
coalesce = "50us"
transfer = "2us"
transfer_rate = "64G"
esn = false
max_replay_window = 128
[[member]]
interface = "eth2"
[[engine]]
name = "cores"
kind = "cpu"
[[policy]]
name = "p"
local = "10.0.0.0/24"
remote = "10.1.0.0/16"
protocol = "tcp"
remote_port = "8000-8080"
[[sa]]
name = "out"
direction = "out"
spi = 4096
src = "10.0.0.1"
dst = "10.0.0.2"
encap = "udp"
key = "000102030405060708090a0b0c0d0e0f10111213"
"""


@asynccontextmanager
async def serving(system: FakeSystem, folder: Path) -> AsyncIterator[tuple[RunningTeam, EventBus]]:
    """Serve a started team; ``ESPRIT_RUN`` is in the environment already."""
    journal = Journal.open()
    plane = FakePlane(system)
    host = Host(plane, cast("Netlink", system), journal, Keys(folder / "state"))
    bus = EventBus()
    team = RunningTeam(host, config.read(TEXT), bus.emit)
    await team.start(force=False)
    lock = asyncio.Lock()

    async def locked(change: Callable[[], Awaitable[T]]) -> T:
        async with lock:
            return await change()

    path = socket_path("team0")
    try:
        async with server.serve(build(team, bus, locked), server.bind(path), path):
            try:
                yield team, bus
            finally:
                bus.close()
    finally:
        await team.stop()
        plane.close()
        journal.close()


@contextmanager
def serving_in_a_thread(system: FakeSystem, folder: Path) -> Iterator[RunningTeam]:
    """The same beside a test that has no event loop."""
    ready = threading.Event()
    found: list[RunningTeam] = []
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def serve() -> None:
        async with serving(system, folder) as (team, _):
            found.append(team)
            ready.set()
            await done.wait()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()

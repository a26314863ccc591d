"""The service around its teams: start, end, failure in between, and who is told what."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.unit.fake_plane import FakePlane
from tests.unit.fake_system import FakeSystem
from tests.unit.served import TEXT

import esprit
from esprit import config
from esprit.control.team import RunningTeam
from esprit.control.watch import Change, ChangeKind
from esprit.daemon import service as service_module
from esprit.daemon.service import Service
from esprit.errors import EspritError, InterfaceMissing

pytestmark = pytest.mark.anyio

SECOND = '[team]\nname = "team1"\n[[member]]\ninterface = "eth3"\n'


class Stage:
    """Everything that a service touches, in memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.system = FakeSystem.plugged(monkeypatch, "eth1", "eth2", "eth3")
        self.plane = FakePlane(self.system)
        self.news: asyncio.Queue[Change | Exception] = asyncio.Queue()
        self.ready = asyncio.Event()
        monkeypatch.setattr(service_module, "Netlink", self._netlink)
        monkeypatch.setattr(service_module, "changes", self._changes)
        monkeypatch.setattr(service_module, "demand_privilege", lambda: None)

    def _netlink(self) -> "Stage":
        return self

    async def __aenter__(self) -> FakeSystem:
        return self.system

    async def __aexit__(self, *error: object) -> None:
        return

    async def _changes(self) -> AsyncIterator[Change]:
        while True:
            news = await self.news.get()
            if isinstance(news, Exception):
                raise news
            yield news

    def _ready(self, teams: Sequence[RunningTeam]) -> None:
        self.ready.set()

    def run(self, *texts: str) -> "tuple[Service, asyncio.Task[None]]":
        service = Service([config.read(text) for text in texts])
        return service, asyncio.create_task(service.run(lambda: self.plane, self._ready))


async def _listened_to(service: Service) -> None:
    """Wait until a listener stands: what happens before is not told to it."""
    while not service._served[0].bus._listeners:  # noqa: ASYNC110 - another task's progress
        await asyncio.sleep(0)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stage:
    monkeypatch.setenv("ESPRIT_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("ESPRIT_STATE", str(tmp_path / "state"))
    return Stage(monkeypatch)


async def test_a_service_serves_until_it_is_told_to_end(stage: Stage, tmp_path: Path) -> None:
    before = stage.system.state()
    service, running = stage.run(TEXT, SECOND)
    await stage.ready.wait()
    async with esprit.connect("team0") as first, esprit.connect("team1") as second:
        assert (list(first.members), list(second.members)) == (["eth1", "eth2"], ["eth3"])
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    assert service.left_over == []
    assert stage.system.state() == before
    assert stage.plane.calls[-1] == "close"
    assert not list((tmp_path / "run").glob("*.sock"))


async def test_a_team_that_cannot_start_takes_the_others_back(stage: Stage, tmp_path: Path) -> None:
    before = stage.system.state()
    _, running = stage.run(TEXT, SECOND.replace("eth3", "eth9"))
    with pytest.raises(InterfaceMissing):
        await running
    assert not stage.ready.is_set()
    assert stage.system.state() == before
    assert stage.plane.calls[-1] == "close"
    assert not list((tmp_path / "run").glob("*.sock"))


async def test_an_event_of_the_data_plane_becomes_a_plan_and_a_line(stage: Stage) -> None:
    service, running = stage.run(TEXT)
    await stage.ready.wait()
    async with esprit.connect("team0") as team, asyncio.timeout(20):
        stream = team.events()
        hearing = asyncio.ensure_future(anext(stream))
        await _listened_to(service)
        (member,) = [n for n, one in stage.plane.members.items() if one["interface"] == "eth1"]
        stage.plane.happen({"kind": "link", "time": 5, "member": member, "up": False, "epoch": 1})
        event = await hearing
        assert (event["kind"], event["member"], event["up"]) == ("link", "eth1", False)
        assert (await anext(stream))["kind"] == "plan"
    assert stage.plane.plans[1]["latch"] == 1
    service.stop()
    await running


async def test_a_failure_while_it_runs_is_told_and_the_team_goes_on(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, running = stage.run(TEXT)
    await stage.ready.wait()
    async with esprit.connect("team0") as team, asyncio.timeout(20):
        stream = team.events()
        hearing = asyncio.ensure_future(anext(stream))
        await _listened_to(service)
        stage.plane.refuse.add("publish")
        (member,) = [n for n, one in stage.plane.members.items() if one["interface"] == "eth1"]
        stage.plane.happen({"kind": "link", "time": 5, "member": member, "up": False, "epoch": 1})
        kinds = [(await hearing)["kind"], (await anext(stream))["kind"]]
        assert kinds == ["link", "error"]
        stage.plane.refuse.clear()
        stage.plane.happen({"kind": "link", "time": 6, "member": member, "up": False, "epoch": 2})
        assert [(await anext(stream))["kind"], (await anext(stream))["kind"]] == ["link", "plan"]
    service.stop()
    await running


async def test_a_panic_of_the_data_plane_keeps_the_doors_closed(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    before = stage.system.state()
    service, running = stage.run(TEXT)
    await stage.ready.wait()
    during = stage.system.state()
    async with esprit.connect("team0") as team, asyncio.timeout(20):
        stream = team.events()
        hearing = asyncio.ensure_future(anext(stream))
        await _listened_to(service)
        stage.plane.happen({"kind": "panic", "time": 1, "message": "index out of bounds"})
        assert await hearing == {
            "kind": "panic",
            "time": 1,
            "team": "team0",
            "message": "index out of bounds",
        }
    assert "index out of bounds" in caplog.text
    # The virtual NIC stays and takes what would otherwise leave by another way in plain.
    assert stage.system.state() == during
    stage.plane.dead = True
    service.stop()
    await running
    assert service.left_over == []
    assert stage.system.state() == before


async def test_news_that_end_are_an_error(stage: Stage) -> None:
    _, running = stage.run(TEXT)
    await stage.ready.wait()
    await stage.news.put(Change(kind=ChangeKind.RESYNC))
    await stage.news.put(OSError(9, "Bad file descriptor"))
    with pytest.raises(EspritError, match="netlink"):
        await running


async def test_a_dry_run_asks_and_changes_nothing(stage: Stage) -> None:
    before = stage.system.state()
    lines = await Service([config.read(TEXT)]).plan()
    assert any("eth1: shut" in line for line in lines)
    assert any("(simulated)" in line for line in lines)
    assert not any("0001020304" in line for line in lines)
    assert stage.system.state() == before
    assert stage.plane.calls == []
    with pytest.raises(InterfaceMissing):
        await Service([config.read(SECOND.replace("eth3", "eth9"))]).plan()

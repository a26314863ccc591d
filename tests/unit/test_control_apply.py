"""Wholly or not at all: every step is made to fail in turn."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from tests.unit.fake_system import FakeSystem

from esprit.control.apply import Transaction, put_back
from esprit.control.netlink import Netlink
from esprit.control.state import Journal
from esprit.control.steps import Feature, OwnAddress, OwnRoute, Shut, Step, Tap, Up, step_from_json
from esprit.errors import AlreadyRunning, ApplyFailed, RollbackFailed, StateUnusable

pytestmark = pytest.mark.anyio

STEPS: tuple[Step, ...] = (
    Shut(interface="eth1"),
    Feature(interface="eth1", feature="rx-lro", on=False),
    Feature(interface="eth1", feature="rx-gro", on=True),
    Up(interface="eth1"),
    OwnAddress(interface="team0", address="10.0.0.1/24"),
    OwnRoute(interface="team0", destination="10.1.0.0/16", gateway="10.0.0.2", source=None),
)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeSystem:
    monkeypatch.setenv("ESPRIT_RUN", str(tmp_path))
    found = FakeSystem()
    found.add_link("eth1")
    found.add_link("team0", kind="tun", up=True)
    found.patch(monkeypatch)
    return found


@pytest.fixture
def journal(system: FakeSystem) -> Iterator[Journal]:
    opened = Journal.open()
    yield opened
    opened.close()


def _netlink(system: FakeSystem) -> Netlink:
    return cast("Netlink", system)


async def _all(system: FakeSystem, journal: Journal) -> None:
    async with Transaction(_netlink(system), journal, "team0") as transaction:
        for step in STEPS:
            await transaction.do(step)


@pytest.mark.parametrize("failing", range(1, len(STEPS) + 1))
async def test_a_failing_step_undoes_all_before_it(
    system: FakeSystem, journal: Journal, failing: int
) -> None:
    before = system.state()
    system.fails_at = failing
    with pytest.raises(ApplyFailed, match="Operation not permitted"):
        await _all(system, journal)
    assert system.state() == before
    assert journal.teams == {}


async def test_undoing_goes_backwards_and_opens_last(system: FakeSystem, journal: Journal) -> None:
    before = system.state()
    await _all(system, journal)
    assert system.state() != before
    system.log.clear()
    assert await put_back(_netlink(system), journal, "team0") == []
    assert system.log[-1] == "reopen eth1"
    assert system.log.index("down eth1") < system.log.index("reopen eth1")
    assert system.state() == before
    assert journal.teams == {}


async def test_a_step_is_written_down_before_it_is_done(
    system: FakeSystem, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    async def look(self: Up, netlink: Netlink) -> None:
        seen.append('"up"' in journal.path.read_text())

    async def holds(self: Up, netlink: Netlink) -> bool:
        return True

    monkeypatch.setattr(Up, "do", look)
    monkeypatch.setattr(Up, "holds", holds)
    await _all(system, journal)
    assert seen == [True]


async def test_a_change_that_is_not_in_effect_is_a_failure(
    system: FakeSystem, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = system.state()

    async def nothing(index: int, *, up: bool) -> None:
        return

    monkeypatch.setattr(system, "set_up", nothing)
    with pytest.raises(ApplyFailed, match="up eth1 was done and is not in effect"):
        await _all(system, journal)
    assert system.state() == before


async def test_what_cannot_be_undone_is_said_and_stays_written_down(
    system: FakeSystem, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stuck(self: Feature, netlink: Netlink) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(Feature, "undo", stuck)
    system.fails_at = 4
    with pytest.raises(RollbackFailed, match=r"feature eth1 rx-gro True: .*busy"):
        await _all(system, journal)
    kept = journal.teams["team0"]
    assert {step.kind for step in kept} == {"feature"}
    assert "eth1" not in system.shut


async def test_a_killed_process_is_put_back_by_the_next(
    system: FakeSystem, journal: Journal
) -> None:
    before = system.state()
    await _all(system, journal)
    journal._lock, lock = -1, journal._lock  # the process is killed: nothing is undone
    os.close(lock)
    again = Journal.open()
    assert again.teams["team0"] == list(STEPS)
    assert await put_back(_netlink(system), again, "team0") == []
    assert system.state() == before
    again.close()


async def test_adopted_steps_keep_the_undo_of_the_first_start(
    system: FakeSystem, journal: Journal
) -> None:
    before = system.state()
    await _all(system, journal)
    await _all(system, journal)  # a second start finds everything as the first left it
    assert journal.teams["team0"] == list(STEPS)
    system.shut.clear()  # what was lost meanwhile is done again
    await _all(system, journal)
    assert system.shut == {"eth1"}
    assert await put_back(_netlink(system), journal, "team0") == []
    assert system.state() == before


async def test_undoing_on_an_interface_that_is_gone_is_no_failure(
    system: FakeSystem, journal: Journal
) -> None:
    await _all(system, journal)
    del system.table["team0"]
    system.table.pop("eth1")
    assert await put_back(_netlink(system), journal, "team0") == []


def test_one_process_serves_a_network_namespace(system: FakeSystem, journal: Journal) -> None:
    with pytest.raises(AlreadyRunning):
        Journal.open()


@pytest.mark.parametrize("content", ["", "[]", '{"version": 1}', '{"version": 1, "boot": 3'])
def test_a_damaged_state_file_is_refused(
    system: FakeSystem, journal: Journal, content: str
) -> None:
    journal.path.write_text(content)
    journal.close()
    # An empty list of teams removes the file at the end, so it is written anew.
    journal.path.write_text(content)
    with pytest.raises(StateUnusable):
        Journal.open()


def test_another_boots_state_is_not_ours(system: FakeSystem, journal: Journal) -> None:
    journal.record("team0", Tap(interface="team0"))
    journal.close()
    journal.path.write_text(journal.path.read_text().replace('"boot": "', '"boot": "x'))
    again = Journal.open()
    assert again.teams == {}
    again.close()


@pytest.mark.parametrize("step", [*STEPS, Tap(interface="team0")], ids=lambda step: step.kind)
def test_steps_read_back_as_they_were_written(step: Step) -> None:
    assert step_from_json(step.to_json()) == step

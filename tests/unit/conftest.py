"""What the unit tests share."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, settings
from tests.unit.control_bench import Bench
from tests.unit.fake_plane import FakePlane
from tests.unit.fake_system import FakeSystem

from esprit.control.host import Host, Keys
from esprit.control.netlink import Netlink
from esprit.control.state import Journal

# Time is no pass mark, and a slow machine is no fault. Where a change is judged, the examples are
# the same each time: chance finds faults on developers' machines, and is no reason to refuse one.
settings.register_profile(
    "esprit",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="ESPRIT_CI" in os.environ,
)
settings.load_profile("esprit")


@pytest.fixture
def anyio_backend() -> str:
    """Coroutines are run by asyncio, as the service runs them."""
    return "asyncio"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bench]:
    monkeypatch.setenv("ESPRIT_RUN", str(tmp_path / "run"))
    system = FakeSystem.plugged(monkeypatch, "eth1", "eth2", "eth3")
    journal = Journal.open()
    plane = FakePlane(system)
    keys = Keys(tmp_path / "state")
    yield Bench(system, plane, Host(plane, cast("Netlink", system), journal, keys))
    plane.close()
    journal.close()

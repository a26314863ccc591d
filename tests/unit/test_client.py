"""The importable face against a team on a real Unix socket."""

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from tests.unit.fake_system import FakeSystem
from tests.unit.served import serving

import esprit
from esprit.control.paths import socket_path
from esprit.control.team import RunningTeam
from esprit.daemon.events import EventBus
from esprit.errors import (
    AlreadyRunning,
    BadRequest,
    ConfigInvalid,
    Conflict,
    EspritError,
    KeyInUse,
    NotFound,
    NotRunning,
)

pytestmark = pytest.mark.anyio

SA = {
    "direction": "out",
    "spi": 5000,
    "src": "10.0.0.1",
    "dst": "10.0.0.2",
    "encap": "udp",
    "key": "200102030405060708090a0b0c0d0e0f10111213",
}
POLICY = {"name": "clear", "action": "bypass", "local": "10.0.0.0/24", "remote": "10.1.0.0/24"}


@pytest.fixture
async def served(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[tuple[RunningTeam, EventBus]]:
    monkeypatch.setenv("ESPRIT_RUN", str(tmp_path / "run"))
    system = FakeSystem.plugged(monkeypatch, "eth1", "eth2", "eth3")
    async with serving(system, tmp_path) as found:
        yield found


def test_the_public_face() -> None:
    public = {
        name
        for name, value in vars(esprit).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert public == set(esprit.__all__) - {"__version__"}
    assert all(hasattr(esprit, name) for name in esprit.__all__)


@pytest.mark.usefixtures("served")
async def test_everything_is_there() -> None:
    async with esprit.connect("team0") as team:
        assert (team.name, team.mode) == ("team0", "active-backup")
        assert [(m.ifname, m.up, m.role) for m in team.members.values()] == [
            ("eth1", True, "active"),
            ("eth2", True, "waiting"),
        ]
        assert {(e.name, e.simulated, e.health) for e in team.engines.values()} == {
            ("eth1-asic", True, "ok"),
            ("cores", False, "ok"),
        }
        assert list(team.sas) == ["out"]
        assert list(team.policies) == ["p"]
        everything = await team.policy_resources()
        assert [one["name"] for one in everything] == [
            *("ike", "ike-nat-t", "arp", "neighbour-discovery"),
            *("p", "default-protected", "default"),
        ]
        (policy,) = [one for one in everything if not one["builtin"]]
        assert (policy["proto"], policy["dport"], policy["sas"]) == ("tcp", "8000-8080", ["out"])
        features = {one["feature"]: one for one in await team.features()}
        assert features["esp-aes-128-gcm-16"]["value"] == "on"
        assert features["esp-hw-offload"]["fixed"]


async def test_changes_reach_the_team(served: tuple[RunningTeam, EventBus]) -> None:
    running, _ = served
    async with esprit.connect("team0") as team:
        await team.set_mode("balance-alb")
        await team.members["eth2"].remove()
        await team.add_member({"interface": "eth3", "priority": 7})
        await team.add_engine({"name": "more", "kind": "cpu", "threads": 0})
        await team.engines["eth1-asic"].fault("hang")
        await team.engines["eth1-asic"].reset()
        await team.engines["cores"].remove()
        await team.engines["eth1-asic"].remove()
        await team.add_engine({"kind": "asic", "rate": "25G"}, member="eth1")
        await team.sas["out"].replace(SA)
        await team.add_policy(POLICY, before="p")
        await team.policies["p"].replace({**POLICY, "name": "q", "action": "discard"})
        await team.refresh()
        assert team.mode == "balance-alb"
        assert {name: m.resource["priority"] for name, m in team.members.items()} == {
            "eth1": 0,
            "eth3": 7,
        }
        assert set(team.engines) == {"eth1-asic", "more"}
        assert team.sas["out"].resource["spi"] == "0x00001388"
        assert list(team.policies) == ["clear", "q"]
        await team.policies["clear"].delete()
        await team.sas["out"].delete()
        await team.refresh()
        assert (list(team.sas), list(team.policies)) == ([], ["q"])
    assert list(running.members) == ["eth1", "eth3"]


@pytest.mark.usefixtures("served")
async def test_errors_come_back_as_they_were_raised() -> None:
    async with esprit.connect("team0") as team:
        with pytest.raises(Conflict, match="eth1") as conflict:
            await team.add_member({"interface": "eth1"})
        assert conflict.value.remedy
        with pytest.raises(ConfigInvalid, match="colour"):
            await team.add_member({"interface": "eth3", "colour": 1})
        with pytest.raises(BadRequest, match="mode x"):
            await team.set_mode("x")
        with pytest.raises(BadRequest, match="not simulated"):
            await team.engines["cores"].fault("die")
        with pytest.raises(KeyInUse):
            await team.add_sa(
                {**SA, "name": "x", "key": "000102030405060708090a0b0c0d0e0f10111213"}
            )
        with pytest.raises(NotFound, match="policy none"):
            await team.add_policy(POLICY, before="none")
        member = team.members["eth2"]
        await member.remove()
        with pytest.raises(NotFound, match="member eth2"):
            await member.remove()


@pytest.mark.usefixtures("served")
async def test_events_arrive_as_they_happen() -> None:
    async with esprit.connect("team0") as team:
        seen: list[str] = []
        heard = asyncio.Event()

        async def listen() -> None:
            async for event in team.events():
                seen.append(str(event["kind"]))
                if event["kind"] == "member-removed":
                    heard.set()

        listening = asyncio.create_task(listen())
        # The daemon answers the stream before it answers what is asked after it.
        async with asyncio.timeout(10):
            while not heard.is_set():
                if "eth2" in team.members:
                    await team.members["eth2"].remove()
                    await team.refresh()
                else:
                    await team.add_member({"interface": "eth2"})
                    await team.refresh()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    assert "plan" in seen


async def test_a_stream_ends_with_its_team(served: tuple[RunningTeam, EventBus]) -> None:
    _, bus = served
    async with esprit.connect("team0") as team:
        stream = team.events()

        async def all_of_it() -> list[object]:
            return [event["kind"] async for event in stream]

        task = asyncio.create_task(all_of_it())
        async with asyncio.timeout(10):
            while not task.done():
                bus.emit({"kind": "test"})
                bus.close()
                await asyncio.sleep(0)
        assert set(task.result()) <= {"test"}


async def test_without_a_team_there_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ESPRIT_RUN", str(tmp_path))
    with pytest.raises(NotRunning, match="team0: is not running"):
        async with esprit.connect("team0"):
            pass
    with pytest.raises(NotRunning):
        esprit.connect()


@pytest.mark.usefixtures("served")
async def test_the_socket_is_its_owners_alone(tmp_path: Path) -> None:
    from esprit.daemon import server

    path = socket_path("team0")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(AlreadyRunning):
        server.bind(path)


async def test_a_socket_that_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    from esprit.daemon import server

    path = tmp_path / "team0.sock"
    server.bind(path).close()
    assert path.exists()
    server.bind(path).close()


@pytest.mark.usefixtures("served")
async def test_what_curl_sees() -> None:
    transport = httpx.AsyncHTTPTransport(uds=str(socket_path("team0")))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        assert (await http.get("/v1/team")).json()["ifname"] == "team0"
        assert (await http.get("/v1/plan")).json()["mode"] == "active-backup"
        assert (await http.get("/v1/members/eth1")).json()["ifname"] == "eth1"
        assert (await http.get("/v1/sas/out")).json()["spi"] == "0x00001000"
        for method, path, body, status in (
            ("GET", "/v1/members/eth9", "", 404),
            ("GET", "/v1/nothing", "", 404),
            ("DELETE", "/v1/team", "", 405),
            ("POST", "/v1/members", "no json", 400),
            ("POST", "/v1/members", "[]", 400),
            ("POST", "/v1/members", '"' + "x" * 70000 + '"', 400),
            ("POST", "/v1/members", "{}", 422),
            ("PUT", "/v1/team/mode", "{}", 400),
            ("POST", "/v1/engines/cores/fault", '{"fault": "hang", "value": -1}', 400),
        ):
            answer = await http.request(method, path, content=body)
            assert answer.status_code == status, (method, path)
            error = answer.json()
            assert error["code"]
            assert error["remedy"]


async def test_an_answer_that_is_no_json_is_an_error_of_ours() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(500, text="oops"))
    with pytest.raises(EspritError):
        async with esprit.connect("team0", transport=transport):
            pass

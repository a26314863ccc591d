"""The load generator: requests, reports, the command, and the service's side of it."""

import asyncio
import json
import sys
from types import SimpleNamespace
from typing import cast

import pytest

import esprit
from esprit import _native
from esprit.cli import load as loading
from esprit.cli import main
from esprit.control.host import Host
from esprit.crypto import EngineSpec, Load, Pool
from esprit.daemon.loading import on_host
from esprit.errors import BadRequest, DataPlaneError


def asic(name: str, rate_bps: int) -> EngineSpec:
    return EngineSpec(name=name, kind="asic", rate_bps=rate_bps, ns_per_packet=0)


def test_a_request_says_what_a_load_is_and_back() -> None:
    load = Load(algorithm="chacha20-poly1305", work="open", size=64, seconds=0.5, rate_bps=10**6)
    assert Load.from_table(load.to_table()) == load
    assert Load.from_table({}) == Load()


@pytest.mark.parametrize(
    "table",
    [
        {"algorithm": "rot13"},
        {"work": "both"},
        {"size": 0},
        {"size": 65_537},
        {"size": True},
        {"seconds": 0},
        {"seconds": "5"},
        {"packets": 65},
        {"window": 0},
        {"rate": "1G"},
    ],
)
def test_a_wrong_request_is_refused_by_its_key(table: dict[str, object]) -> None:
    with pytest.raises(BadRequest) as refused:
        Load.from_table(table)
    assert refused.value.subject in table


def test_each_engine_s_share_is_said_and_adds_up() -> None:
    with Pool([asic("fast", 300_000_000), asic("slow", 100_000_000)]) as pool:
        found = pool.load(Load(seconds=0.3, size=1400, packets=8))
    assert (found["lost"], found["bad"]) == (0, 0)
    assert found["nominal_bps"] == 400_000_000
    assert sum(one["share"] for one in found["engines"]) == pytest.approx(1)
    fast, slow = found["engines"]
    assert fast["simulated"]
    assert fast["done_bps"] > slow["done_bps"] > 0
    assert found["reached"] == pytest.approx(found["done_bps"] / found["sum_bps"])
    assert found["messages"] == 8 * found["jobs"]
    assert 0 < found["latency_p50_ns"] <= found["latency_p99_ns"] <= found["latency_max_ns"]


def test_a_rate_is_not_exceeded() -> None:
    with Pool() as pool:
        found = pool.load(Load(seconds=0.2, size=1000, packets=1, rate_bps=4_000_000))
    assert 1 <= found["messages"] <= 101


def test_the_command_prints_json_or_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["esprit", "load", "--local", "--engine", "asic:50M", "--engine", "cpu"]
    monkeypatch.setattr(sys, "argv", [*words, "--seconds", "0.1", "-j"])
    with pytest.raises(SystemExit, match="0"):
        main()
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["engines"]] == ["asic0", "cpu1"]
    assert found["nominal_bps"] is None
    monkeypatch.setattr(sys, "argv", [*words, "--seconds", "0.1", "--rate", "10M"])
    with pytest.raises(SystemExit, match="0"):
        main()
    out = capsys.readouterr().out
    assert "asic (simulated)" in out
    assert "the sum of the engines' measured rates" in out


@pytest.mark.parametrize("text", ["foo", "asic", "asic:fast", "cpu:x", "gpu:1"])
def test_what_is_no_engine_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        loading.engine(text, 0)


def test_engines_in_words() -> None:
    assert loading.engine("asic:2.5G", 3).rate_bps == 2_500_000_000
    assert loading.engine("cpu:4", 0).threads == 4
    assert loading.bits(2_500_000_000) == "2.5 Gbit/s"


def host(plane: object, engines: list[object]) -> Host:
    return cast("Host", SimpleNamespace(plane=plane, engines=lambda: iter(engines)))


def test_a_host_s_pool_is_loaded_beside_the_event_loop() -> None:
    plane = _native.DataPlane()
    try:
        spec = asic("nic", 100_000_000)
        verified = plane.engine_add(spec.to_native(id=7, member=None))
        here = host(plane, [SimpleNamespace(id=7, spec=spec, verified=verified)])
        with pytest.raises(DataPlaneError, match="for applications"):
            asyncio.run(on_host(here, {"seconds": 0.1}))
        grant: _native.Grant = {
            "engine": 7, "member": None, "seal": True, "open": True, "primary": None,
            "secondary": None, "application": 0, "bias_ns": 0, "bias_load": 0.0,
            "limit_ns": None, "headroom": None,
        }  # fmt: skip
        plane.applications({"engines": [grant], "spill_ns": (1, 1, 1), "verify_every": 0})

        async def beside() -> tuple[float, int]:
            task = asyncio.create_task(on_host(here, {"seconds": 0.2, "work": "open"}))
            turns = 0
            while not task.done():
                turns += 1
                await asyncio.sleep(0)
            return task.result()["engines"][0]["share"], turns

        share, turns = asyncio.run(beside())
        assert share == 1
        assert turns > 10
    finally:
        plane.close()


def test_what_a_host_cannot_do_is_refused() -> None:
    with pytest.raises(BadRequest, match="more than 20"):
        asyncio.run(on_host(host(None, []), {"seconds": 21}))
    with pytest.raises(BadRequest, match="needs the data plane itself"):
        asyncio.run(on_host(host(object(), []), {}))


def test_the_package_offers_it_by_name() -> None:
    assert esprit.crypto.AESGCM is not None
    with pytest.raises(AttributeError):
        _ = esprit.nothing

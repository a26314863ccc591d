"""Engines on trial: evidence, quarantine, tests again, and what the team then offers."""

import time

import pytest
from tests.unit.control_bench import TEXT, Bench

from esprit.control.team import RunningTeam
from esprit.errors import EngineRefused, NotFound
from esprit.model.event import EngineReported
from esprit.verify import Evidence, retests
from esprit.verify.evidence import KEPT

pytestmark = pytest.mark.anyio

NAME = "eth1-asic"


def granted(bench: Bench, team: RunningTeam) -> bool:
    grants = bench.plane.plans[team.id]["grants"]["engines"]
    return bench.host.engine(NAME).id in [grant["engine"] for grant in grants]


async def lie(bench: Bench, team: RunningTeam) -> None:
    number = bench.host.engine(NAME).id
    for what, details in (("wrong", (("operations", 1),)), ("quarantined", ())):
        await team.upkeep.happened(
            EngineReported(time=5, engine=number, what=what, details=details)
        )


async def expire(team: RunningTeam, monkeypatch: pytest.MonkeyPatch) -> None:
    due = team.upkeep.next_due()
    assert due is not None
    monkeypatch.setattr(time, "monotonic_ns", lambda: due)
    await team.upkeep.due()
    monkeypatch.undo()


async def test_a_liar_is_out_at_once_and_the_evidence_is_kept(bench: Bench) -> None:
    team = await bench.started()
    await lie(bench, team)
    assert not granted(bench, team)
    trouble = bench.host.evidence.against(NAME)
    assert trouble is not None
    assert (trouble.since, trouble.what) == (5, "quarantined")
    assert trouble.lines == ["wrong operations=1", "quarantined"]
    due = team.upkeep.next_due()
    assert due is not None
    assert due >= time.monotonic_ns() + retests.FIRST_NS // 2, "not at once"


async def test_a_liar_is_verified_as_it_is_and_readmitted_when_it_passes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = await bench.started()
    await lie(bench, team)
    bench.plane.failing[NAME] = [
        (algorithm, direction)
        for algorithm in ("aes-128-gcm-16", "aes-256-gcm-16")
        for direction in ("seal", "open")
    ]
    await expire(team, monkeypatch)
    assert not granted(bench, team)
    (refused,) = bench.said("engine-refused")
    assert (refused["engine"], refused["evidence"]) == (NAME, "case 1: wrong tag")
    trouble = bench.host.evidence.against(NAME)
    assert trouble is not None
    assert trouble.since == 5
    assert trouble.lines[-1] == "refused by=case 1: wrong tag"
    bench.plane.failing.clear()
    await expire(team, monkeypatch)
    assert granted(bench, team)
    assert bench.host.evidence.against(NAME) is None
    assert team.upkeep.next_due() is None
    assert bench.plane.calls.count("engine_verify") == 2
    assert "engine_reset" not in bench.plane.calls, "a reset would hide what is wrong with it"


async def test_verification_on_demand(bench: Bench) -> None:
    team = await bench.started()
    await team.verify_engine(NAME)
    assert bench.said("engine-verified") == [{"engine": NAME}]
    await lie(bench, team)
    await team.verify_engine(NAME)
    assert granted(bench, team)
    assert team.upkeep.next_due() is None
    with pytest.raises(NotFound):
        await team.verify_engine("nobody")


async def test_what_failed_alone_is_not_granted_and_the_rest_is(bench: Bench) -> None:
    bench.plane.failing[NAME] = [
        ("aes-128-gcm-16", "seal"),
        ("aes-256-gcm-16", "seal"),
        ("aes-256-gcm-16", "open"),
    ]
    team = await bench.started()
    number = bench.host.engine(NAME).id
    grants = bench.plane.plans[team.id]["grants"]["engines"]
    (grant,) = [one for one in grants if one["engine"] == number]
    assert (grant["seal"], grant["open"]) == (False, True)
    mask = bench.plane.plans[team.id]["mask"]
    assert mask is not None
    eth1, eth2 = team.members["eth1"].id, team.members["eth2"].id
    assert mask["seal"][0] == {"algorithm": "aes-128-gcm-16", "own": [], "backed": [eth1, eth2]}
    assert mask["open"][0] == {"algorithm": "aes-128-gcm-16", "own": [eth1], "backed": [eth2]}
    assert {
        "engine": NAME,
        "algorithm": "aes-128-gcm-16",
        "direction": "seal",
        "evidence": "case 1: wrong tag",
    } in bench.said("engine-test-failed")


async def test_sharing_spreading_and_ipsec_switch_at_their_thresholds(bench: Bench) -> None:
    team = await bench.started(TEXT)
    told = bench.kinds()
    assert (told.count("ipsec-offered"), told.count("ipsec-withdrawn")) == (1, 0)
    await lie(bench, team)
    assert bench.said("spreading") == [{"on": True}, {"on": False}]
    assert bench.said("sharing") == [{"on": True}]
    number = bench.host.engine("cores").id
    await team.upkeep.happened(EngineReported(engine=number, what="hung"))
    assert bench.said("sharing") == [{"on": True}, {"on": False}]
    assert bench.kinds().count("ipsec-withdrawn") == 1
    found = {one["feature"]: one for one in team.view().features()}
    assert found["esp-aes-128-gcm-16"]["value"] == "off"
    assert "passed its test" in found["esp-aes-128-gcm-16"]["reason"]
    assert found["esp-tunnel-mode"]["value"] == "off"
    assert found["tx-checksum-ip-generic"]["value"] == "on", "plain traffic goes on"
    plan = bench.plane.plans[team.id]
    assert plan["transmit"] == [team.members["eth1"].id]
    await team.verify_engine(NAME)
    assert bench.kinds().count("ipsec-offered") == 2


async def test_applications_may_what_the_plans_of_all_teams_say(bench: Bench) -> None:
    first = await bench.started(TEXT)
    second = await bench.started(
        '[team]\nname = "team1"\nverify = "all"\n[[member]]\ninterface = "eth3"'
    )
    own, cores = bench.host.engine(NAME).id, bench.host.engine("cores").id
    granted = bench.plane.granted[-1]
    tiers = {grant["engine"]: grant["application"] for grant in granted["engines"]}
    assert tiers == {own: 1, cores: 2}, "the active member's engine is not the other team's first"
    assert granted["verify_every"] == 1
    assert all(grant["member"] is None for grant in granted["engines"])
    count = len(bench.plane.granted)
    first.apply(EngineReported(engine=own, what="late"))
    assert len(bench.plane.granted) == count, "nothing changed"
    assert await first.stop() == []
    assert await second.stop() == []
    assert bench.plane.granted[-1]["engines"] == []


def test_evidence_is_bounded_and_remembers_how_it_began() -> None:
    evidence = Evidence()
    for number in range(2 * KEPT):
        evidence.note("e", "wrong", number, {"ticket": number})
    trouble = evidence.against("e")
    assert trouble is not None
    assert len(trouble.lines) == KEPT
    assert (trouble.since, trouble.lines[0]) == (0, "wrong ticket=0")


async def test_a_refusal_on_demand_keeps_it_out(bench: Bench) -> None:
    team = await bench.started()
    bench.plane.failing[NAME] = [
        (algorithm, direction)
        for algorithm in ("aes-128-gcm-16", "aes-256-gcm-16")
        for direction in ("seal", "open")
    ]
    with pytest.raises(EngineRefused, match="wrong tag"):
        await team.verify_engine(NAME)
    assert not granted(bench, team)

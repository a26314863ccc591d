"""The list that ``ethtool -k`` would give: one NIC, whatever its members are."""

from dataclasses import replace

import pytest

from esprit.model import (
    Capabilities,
    EngineState,
    Feature,
    MemberState,
    Rate,
    TeamState,
    features,
)
from esprit.model.capability import Column
from esprit.model.event import EngineReported, ForeignTried, LinkChanged, SettingsChanged
from esprit.modes import decide

BOTH = Capabilities(algorithms=("aes-128-gcm-16", "aes-256-gcm-16"))
OLD = Capabilities(algorithms=("aes-128-gcm-16",), esn=False)
INLINE = replace(BOTH, lookaside=False, inline=True)

ON = Column(advertised=True, accepted=True)
OFF = Column(advertised=True, accepted=False)
LACKING = Column(advertised=False, accepted=False)


def engine(number: int, member: int | None, has: Capabilities) -> EngineState:
    return EngineState(
        id=number,
        name=f"e{number}",
        kind="asic",
        member=member,
        health="ok",
        capabilities=has,
        rates=tuple(
            Rate(algorithm=algorithm, direction=direction, ns_per_packet=1.0, ns_per_byte=1.0)
            for algorithm in has.algorithms
            for direction in ("seal", "open")
        ),
    )


def team(*engines: EngineState) -> TeamState:
    eth1, eth2 = (MemberState(id=i, interface=f"eth{i}", link="up") for i in (1, 2))
    return decide(TeamState(id=0, mode="balance-alb", members=(eth1, eth2), engines=engines)).state


def listed(state: TeamState, **more: object) -> dict[str, Feature]:
    return {feature.name: feature for feature in features(state, **more)}  # type: ignore[arg-type]


def test_members_that_are_unlike_make_one_nic() -> None:
    found = listed(team(engine(11, 1, BOTH)))
    assert found["esp-aes-256-gcm-16"].on
    assert [str(p) for p in found["esp-aes-256-gcm-16"].providers] == ["e11"]
    assert (found["esp-on-eth1"].value, found["esp-on-eth1"].reason) == ("on", "")
    assert found["esp-on-eth2"].reason == "backed up by the team"
    assert [str(p) for p in found["esp-on-eth2"].providers] == ["e11"]


def test_what_only_some_members_have_is_off_for_the_team() -> None:
    state = team(engine(11, 1, INLINE))
    found = listed(state)
    assert not found["esp-aes-128-gcm-16"].on
    assert found["esp-aes-128-gcm-16"].reason == "no engine gives it to eth2"
    assert found["esp-on-eth1"].on
    assert (found["esp-on-eth2"].on, found["esp-on-eth2"].reason) == (False, "nobody backs it up")
    assert not found["esp-tunnel-mode"].on
    alone = decide(state, LinkChanged(member=2, up=False, epoch=1)).state
    assert listed(alone)["esp-aes-128-gcm-16"].on


def test_each_cipher_and_esn_are_their_own_line() -> None:
    found = listed(team(engine(11, None, OLD)))
    assert found["esp-aes-128-gcm-16"].on
    assert found["esp-aes-256-gcm-16"].reason == "no engine has it"
    assert not found["esp-extended-sequence-numbers"].on
    assert listed(team(engine(11, None, BOTH)))["esp-extended-sequence-numbers"].on


def test_a_provider_says_how_far_it_got() -> None:
    state = team(engine(11, 1, BOTH), engine(20, None, BOTH))
    found = listed(decide(state, EngineReported(engine=20, what="hung")).state)
    e11, e20 = found["esp-aes-128-gcm-16"].providers
    assert (e11.advertised, e11.accepted, e11.verified) == (True, True, True)
    assert (e20.advertised, e20.accepted, e20.verified) == (True, False, False)
    assert (str(e11), str(e20)) == ("e11", "(e20)")


def test_no_engine_that_passed_its_test() -> None:
    state = team(replace(engine(11, 1, BOTH), health="failed"))
    assert listed(state)["esp-aes-128-gcm-16"].reason.endswith(
        "no engine that has it passed its test"
    )
    assert not listed(state)["secondary-use-sharing"].on


def test_sharing_needs_one_and_spreading_two() -> None:
    assert not listed(team(engine(11, 1, INLINE)))["secondary-use-sharing"].on
    one = listed(team(engine(11, 1, BOTH)))
    assert (one["secondary-use-sharing"].on, one["secondary-use-spreading"].on) == (True, False)
    two = listed(team(engine(11, 1, BOTH), engine(12, 2, BOTH)))
    assert two["secondary-use-spreading"].on


def test_what_linux_lets_no_tap_announce_is_said_with_its_reason() -> None:
    found = listed(team(engine(11, 1, BOTH)))["esp-hw-offload"]
    assert (found.value, found.fixed) == ("off", True)
    assert "TAP" in found.reason


def test_the_virtual_nic_s_offloads_are_backed_up_by_the_data_plane() -> None:
    found = listed(
        team(engine(11, 1, BOTH)),
        offloads=("csum", "tso4"),
        members={1: {"tx-tcp-segmentation": ON}, 2: {"tx-tcp-segmentation": LACKING}},
    )
    tso = found["tx-tcp-segmentation"]
    assert (tso.on, tso.fixed) == (True, True)
    assert [(p.kind, p.name) for p in tso.providers] == [("host", "data plane"), ("member", "eth1")]
    assert not found["tx-udp-segmentation"].on
    assert "kernel" in found["tx-udp-segmentation"].reason


def test_a_member_s_offload_that_is_off_stands_as_advertised() -> None:
    state = team(engine(11, 1, BOTH))
    known = {1: {"tx-tcp-segmentation": OFF}, 2: {"tx-tcp-segmentation": ON}}
    tso = listed(state, offloads=("tso4",), members=known)["tx-tcp-segmentation"]
    assert [(str(p), p.advertised, p.accepted, p.verified) for p in tso.providers] == [
        ("data plane", True, True, None),
        ("(eth1)", True, False, None),
        ("eth2", True, True, None),
    ]
    # Nothing of it is used where the member does not carry, or the team has no such offload.
    down = decide(state, LinkChanged(member=2, up=False, epoch=1)).state
    tso = listed(down, offloads=("tso4",), members=known)["tx-tcp-segmentation"]
    assert [str(p) for p in tso.providers] == ["data plane", "(eth1)", "(eth2)"]
    tso = listed(state, members=known)["tx-tcp-segmentation"]
    assert [str(p) for p in tso.providers] == ["(data plane)", "(eth1)", "(eth2)"]


def test_a_member_has_checksums_by_either_of_the_kernel_s_names() -> None:
    known = {1: {"tx-checksum-ip-generic": ON}, 2: {"tx-checksum-ipv4": ON}}
    more = {2: {"tx-checksum-ipv4": ON, "tx-checksum-ipv6": ON, "tx-checksum-ip-generic": LACKING}}
    state = team(engine(11, 1, BOTH))
    name = "tx-checksum-ip-generic"
    found = listed(state, offloads=("csum",), members=known)[name]
    assert [str(p) for p in found.providers] == ["data plane", "eth1"], "one version is not enough"
    found = listed(state, offloads=("csum",), members={**known, **more})[name]
    assert [str(p) for p in found.providers] == ["data plane", "eth1", "eth2"]
    half = {2: {"tx-checksum-ipv4": ON, "tx-checksum-ipv6": OFF}}
    found = listed(state, offloads=("csum",), members=half)[name]
    assert [str(p) for p in found.providers] == ["data plane", "(eth2)"]


def test_what_is_received_is_checked_and_merged_by_the_data_plane_and_its_members() -> None:
    known = {1: {"rx-checksum": ON, "rx-gro": OFF}, 2: {"rx-checksum": LACKING, "rx-gro": ON}}
    found = listed(team(engine(11, 1, BOTH)), members=known)
    for name, providers in (
        ("rx-checksum", ["data plane", "eth1"]),
        ("generic-receive-offload", ["data plane", "(eth1)", "eth2"]),
    ):
        assert (found[name].value, found[name].fixed) == ("on", True)
        assert [str(p) for p in found[name].providers] == providers


def test_esp_in_a_member_s_hardware_is_a_candidate_that_the_team_does_not_use() -> None:
    known = {
        1: {"esp-hw-offload": ON, "esp-tx-csum-hw-offload": OFF, "tx-esp-segmentation": LACKING},
        2: {"esp-hw-offload": OFF},
    }
    found = listed(team(engine(11, 1, BOTH)), members=known)
    for name, able in (
        ("esp-hw-offload", ["(eth1)", "(eth2)"]),
        ("esp-tx-csum-hw-offload", ["(eth1)"]),
        ("tx-esp-segmentation", []),
    ):
        assert (found[name].value, found[name].fixed) == ("off", True)
        assert [str(p) for p in found[name].providers] == able
        assert not any(p.accepted for p in found[name].providers)
        assert "no TAP device" in found[name].reason
        assert ("leaves it unused" in found[name].reason) == bool(able)


@pytest.mark.parametrize("state", [TeamState(id=0), team()])
def test_a_team_without_a_plan_or_engines_offers_no_esp(state: TeamState) -> None:
    found = listed(state)
    assert not any(f.on for name, f in found.items() if name.startswith(("esp-", "secondary-")))


def test_whatever_is_off_says_why() -> None:
    for state in (TeamState(id=0), team(), team(engine(11, 1, INLINE)), team(engine(11, 1, OLD))):
        assert all(feature.reason for feature in features(state) if not feature.on)


def test_a_cipher_counts_only_where_its_own_test_passed_both_ways() -> None:
    whole = engine(11, None, BOTH)
    half = replace(whole, rates=tuple(r for r in whole.rates if r.algorithm == "aes-128-gcm-16"))
    found = listed(team(half))
    assert found["esp-aes-128-gcm-16"].on
    assert not found["esp-aes-256-gcm-16"].on
    (provider,) = found["esp-aes-256-gcm-16"].providers
    assert (provider.advertised, provider.accepted, provider.verified) == (True, True, False)
    sealing = replace(whole, rates=tuple(r for r in whole.rates if r.direction == "seal"))
    assert not listed(team(sealing))["esp-aes-128-gcm-16"].on


def test_why_nothing_is_delivered_directly() -> None:
    state = team(engine(11, 1, BOTH))
    assert listed(state)["direct-delivery"].reason == 'delivery = "return"'
    state = decide(state, SettingsChanged(delivery="direct")).state
    assert "not been tried" in listed(state)["direct-delivery"].reason
    for number in (1, 2):
        state = decide(state, ForeignTried(member=number, able=False)).state
    assert listed(state)["direct-delivery"].reason == "no member can send another's address"
    state = decide(state, ForeignTried(member=2, able=True)).state
    found = listed(state)["direct-delivery"]
    assert (found.on, found.reason) == (True, "")
    assert [str(one) for one in found.providers] == ["(eth1)", "eth2"]

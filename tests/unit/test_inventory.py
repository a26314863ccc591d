"""What interfaces are, who may be a member, and the three columns."""

import asyncio
import json
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.fake_system import FakeSystem

from esprit import inventory
from esprit.cli import inventory as listing
from esprit.control.netlink import Link, Netlink
from esprit.crypto import Pool
from esprit.errors import EngineRefused
from esprit.inventory import Column, Identity, Question, identify, refusal
from esprit.inventory.engines import declared, proved
from esprit.inventory.features import OF_INTEREST, of_interest
from esprit.inventory.rules import FIELDS, matches
from esprit.model import EngineSpec

NIC = Identity(
    interface="eth1",
    kind="physical",
    driver="ixgbe",
    bus="0000:03:00.0",
    vendor="0x8086",
    device="0x10fb",
    subsystem="0x8086:0x0003",
    revision="0x01",
    firmware="0x800003e2, 1.1313.0",
)
VETH = Identity(interface="veth0", kind="veth", driver="veth")

# rules


@pytest.mark.parametrize(
    ("rule", "nic", "veth"),
    [
        ({"driver": "ixgbe"}, True, False),
        ({"driver": "ixg*", "vendor": "0x8086"}, True, False),
        ({"driver": "ixgbe", "vendor": "0x15b3"}, False, False),
        ({"firmware": "*"}, True, True),
        ({"firmware": "?*"}, True, False),
        ({"firmware": "*1.13*"}, True, False),
        ({"vendor": ""}, False, False),
        ({"interface": "[ve]*"}, True, True),
        ({"driver": "IXGBE"}, False, False),
        ({"colour": "*"}, False, False),
        ({}, False, False),
    ],
)
def test_a_rule_matches_if_all_its_patterns_do(rule: dict[str, str], nic: bool, veth: bool) -> None:
    assert (matches(rule, NIC), matches(rule, VETH)) == (nic, veth)


def test_without_rules_everything_is_allowed() -> None:
    assert refusal(NIC, [], []) is None


def test_with_an_allow_rule_only_what_it_names_is() -> None:
    allow = [{"vendor": "0x15b3"}, {"driver": "veth"}]
    assert refusal(VETH, allow, []) is None
    assert refusal(NIC, allow, []) == "is allowed by no rule"


def test_deny_beats_allow_and_is_said() -> None:
    rules = [{"driver": "ixgbe", "revision": "0x01"}]
    assert refusal(NIC, rules, rules) == (
        'is denied by deny = { driver = "ixgbe", revision = "0x01" }'
    )


identities = st.builds(
    Identity, **{name: st.none() | st.text("ab*", max_size=3) for name in FIELDS}
)
rules = st.lists(
    st.dictionaries(st.sampled_from(FIELDS), st.text("ab*?", max_size=3), max_size=3), max_size=3
)


@given(identity=identities, allow=rules, deny=rules)
def test_the_verdict_is_that_of_the_words_deny_beats_allow(
    identity: Identity, allow: list[dict[str, str]], deny: list[dict[str, str]]
) -> None:
    refused = refusal(identity, allow, deny) is not None
    denied = any(matches(rule, identity) for rule in deny)
    allowed = not allow or any(matches(rule, identity) for rule in allow)
    assert refused == (denied or not allowed)


@given(identity=identities, name=st.sampled_from(FIELDS))
def test_a_star_matches_whatever_there_is_or_is_not(identity: Identity, name: str) -> None:
    assert matches({name: "*"}, identity)


# what an interface is


def link(name: str, *, kind: str | None = None, index: int = 7) -> Link:
    return Link(
        index=index,
        name=name,
        mac="02:00:00:00:00:07",
        mtu=1500,
        up=True,
        carrier=True,
        loopback=False,
        kind=kind,
        master=None,
        gso_max_size=None,
    )


class Asked:
    """A driver that says what it is told to."""

    def __init__(self, driver: dict[str, str] | None = None) -> None:
        self._driver = driver or {}

    def driver(self, interface: str) -> dict[str, str]:
        return self._driver

    def features(self, interface: str) -> dict[str, Column]:
        return {
            "tx-tcp-segmentation": Column(advertised=True, accepted=False),
            "rx-gro": Column(advertised=True, accepted=True),
            "rx-fcs": Column(advertised=True, accepted=True),
        }

    def speed(self, interface: str) -> int | None:
        return 10_000


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """A tree as sysfs has it, of one PCI device."""
    device = tmp_path / "devices" / "pci0000:00" / "0000:03:00.0"
    driver = tmp_path / "bus" / "pci" / "drivers" / "ixgbe"
    for folder in (device, driver, tmp_path / "net" / "eth1"):
        folder.mkdir(parents=True)
    for name, value in {
        "vendor": "0x8086",
        "device": "0x10fb",
        "subsystem_vendor": "0x8086",
        "subsystem_device": "0x0003",
        "revision": "0x01",
    }.items():
        (device / name).write_text(value + "\n")
    (device / "driver").symlink_to(driver)
    (tmp_path / "net" / "eth1" / "device").symlink_to(device)
    (tmp_path / "net" / "eth1" / "ifindex").write_text("7\n")
    (tmp_path / "net" / "eth1" / "address").write_text("02:00:00:00:00:07\n")
    return tmp_path / "net"


def test_a_pci_device_says_all_that_it_is(sysfs: Path) -> None:
    told = {"driver": "ixgbe", "bus": "0000:03:00.0", "firmware": "0x800003e2, 1.1313.0"}
    assert identify(link("eth1"), Asked(told), sysfs=sysfs) == NIC


def test_where_ethtool_says_nothing_sysfs_does(sysfs: Path) -> None:
    found = identify(link("eth1"), Asked(), sysfs=sysfs)
    assert (found.driver, found.bus, found.firmware) == ("ixgbe", "0000:03:00.0", None)


def test_a_folder_of_another_namespace_s_interface_is_not_read(sysfs: Path) -> None:
    found = identify(link("eth1", index=8), Asked(), sysfs=sysfs)
    assert (found.vendor, found.driver) == (None, None)


def test_a_virtual_interface_has_a_kind_and_little_else(sysfs: Path) -> None:
    found = identify(link("veth0", kind="veth"), Asked({"driver": "veth"}), sysfs=sysfs)
    assert found == VETH


# three columns


def test_features_of_interest_stand_in_their_order_and_others_do_not() -> None:
    found = of_interest(Asked().features("eth1"))
    assert list(found) == ["tx-tcp-segmentation", "rx-gro"]
    assert set(found) < set(OF_INTEREST)


def test_an_engine_is_declared_without_a_test_and_proved_by_one() -> None:
    spec = EngineSpec(name="nic", kind="asic", algorithms=("aes-128-gcm-16",))
    assert declared(spec) == {"engine-aes-128-gcm-16": Column(advertised=True, accepted=False)}
    (column,) = proved(spec).values()
    assert column == Column(advertised=True, accepted=True, verified=True)


def test_an_engine_that_fails_its_test_is_refuted_not_untested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(pool: Pool, spec: EngineSpec) -> None:
        raise EngineRefused(spec.name, "test case 3: sealed wrongly")

    monkeypatch.setattr(Pool, "add_engine", refuse)
    spec = EngineSpec(name="nic", kind="asic", algorithms=("aes-128-gcm-16",))
    (column,) = proved(spec).values()
    assert column == Column(advertised=True, accepted=False, verified=False)


# the list


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> FakeSystem:
    return FakeSystem.plugged(monkeypatch, "eth1", "eth2")


def look(system: FakeSystem, question: Question) -> list[inventory.Interface]:
    async def ask() -> list[inventory.Interface]:
        netlink = cast("Netlink", system)
        return [
            await inventory._look(netlink, found, Asked({"driver": "ixgbe"}), question)
            for found in await netlink.links()
            if not found.loopback
        ]

    return asyncio.run(ask())


def test_a_rule_s_refusal_is_the_verdict_and_changes_nothing(system: FakeSystem) -> None:
    before = system.state()
    question = Question(deny=[{"interface": "eth2"}])
    taken, refused = look(system, question)
    assert taken.refusal == ""
    assert refused.refusal == 'is denied by deny = { interface = "eth2" }'
    assert "allow and deny" in refused.remedy
    assert system.state() == before


def test_the_resource_is_plain_and_stable(
    system: FakeSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = EngineSpec(name="e", kind="asic", algorithms=("aes-256-gcm-16",))
    question = Question(allow=[{"driver": "ixgbe"}], engines={"eth1": engine})
    found = [listing._resource(one) for one in look(system, question)]
    assert json.loads(json.dumps(found)) == found
    assert [(one["ifname"], one["verdict"], one["simulated"]) for one in found] == [
        ("eth1", "take", True),
        ("eth2", "take", False),
    ]
    assert found[0]["features"] == {
        "tx-tcp-segmentation": {"advertised": True, "accepted": False, "verified": None},
        "rx-gro": {"advertised": True, "accepted": True, "verified": None},
        "engine-aes-256-gcm-16": {"advertised": True, "accepted": False, "verified": None},
    }
    listing.show(found)
    out = capsys.readouterr().out
    assert "eth1: " in out
    assert "driver ixgbe" in out
    assert "advertised  accepted  verified" in out
    assert "its engine is simulated" in out

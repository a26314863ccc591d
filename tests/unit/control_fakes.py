"""A data plane and a host in memory: they keep the same books and move no packet."""

import contextlib
import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import pytest

from esprit.control import ethtool, identity, netfilter
from esprit.control.netlink import (
    Address,
    IpAddress,
    IpInterface,
    IpNetwork,
    Link,
    Neighbour,
    Route,
)
from esprit.errors import DataPlaneError, EngineRefused

if TYPE_CHECKING:
    from esprit._native import (
        Drop,
        EngineSpec,
        EngineVerified,
        Event,
        Explanation,
        FaultName,
        Flow,
        Grants,
        Loads,
        MemberAdded,
        MemberSpec,
        Plan,
        PolicySpec,
        SaSnapshot,
        SaSpec,
        Snapshot,
        TeamAdded,
        TeamSpec,
        Transfer,
    )


SEAL: Final = "seal"
OPEN: Final = "open"


class FakePlane:
    """What the control plane asked, by object, and in order in ``calls``."""

    def __init__(self, system: "FakeSystem | None" = None) -> None:
        self.system = system
        self.calls: list[str] = []
        self.teams: dict[int, TeamSpec] = {}
        self.members: dict[int, MemberSpec] = {}
        self.up: dict[int, bool] = {}
        self.engines: dict[int, EngineSpec] = {}
        self.faults: dict[int, str] = {}
        self.plans: dict[int, Plan] = {}
        self.sas: dict[int, SaSpec] = {}
        self.keys: dict[int, bytes] = {}
        self.next_numbers: dict[int, int] = {}
        self.grants: dict[int, int] = {}
        self.next_hops: dict[int, str | None] = {}
        self.policies: dict[int, list[PolicySpec]] = {}
        self.probe_keys: dict[int, bytes] = {}
        self.granted: list[Grants] = []
        self.drop: Drop | None = None
        self.heard: dict[int, bool] = {}
        self.foreign: dict[int, bool | None] = {}
        self.queued: dict[int, int] = {}
        self.shares: dict[int, list[int]] = {}
        self.failing: dict[str, list[tuple[str, str]]] = {}
        self.refuse: set[str] = set()
        self.dead = False
        self.link_epoch = 0
        self._events: list[Event] = []
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def _called(self, call: str) -> None:
        self.calls.append(call)
        if self.dead:
            raise DataPlaneError("the data plane has stopped")
        if call in self.refuse:
            raise DataPlaneError(f"{call} was refused")

    # for tests

    def happen(self, event: "Event") -> None:
        """Make an event happen."""
        self._events.append(event)
        os.eventfd_write(self._fd, 1)

    # the data plane's face

    def close(self) -> None:
        self.calls.append("close")
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def event_fd(self) -> int:
        return self._fd

    def events(self) -> "list[Event]":
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)
        found, self._events = self._events, []
        return found

    def snapshot(self) -> "Snapshot":
        if self.dead:
            raise DataPlaneError("the data plane has stopped")
        teams: dict[int, object] = {}
        for number in self.teams:
            plan = self.plans.get(number)
            teams[number] = {
                "epoch": plan["epoch"] if plan else None,
                "active": sorted(set(plan["transmit"])) if plan else [],
                "receiver": plan["receiver"] if plan else None,
                "rx": {"packets": 1, "bytes": 100},
                "tx": {"packets": 2, "bytes": 200},
                "drops": {"no-sa": 3},
                "shares": self.shares.get(number, []),
                "held": 0,
            }
        found: Snapshot = {
            "time": 1,
            "link_epoch": self.link_epoch,
            "teams": teams,  # type: ignore[typeddict-item]
            "members": {
                number: {
                    "team": spec["team"],
                    "up": self.up.get(number, True),
                    "latched": None,
                    "rx": {"packets": 3, "bytes": 300},
                    "tx": {"packets": 4, "bytes": 400},
                    "queued": self.queued.get(number, 0),
                    "drops": {},
                    "heard": self.heard.get(number, True),
                    "direct": 0,
                    "probes_sent": 9,
                    "probes_heard": 8,
                    "probes_missed": 1,
                    "tx_errors": 0,
                    "foreign": self.foreign.get(number),
                }
                for number, spec in self.members.items()
            },
            "engines": {
                number: {
                    "engine": number,
                    "health": "ok",
                    "outstanding": 0,
                    "backlog_ns": 0,
                    "memory": 0,
                    "jobs": 5,
                    "packets": 50,
                    "bytes": 5000,
                    "primary": 2,
                    "secondary": 3,
                    "application": 0,
                    "redone": 0,
                    "late": 0,
                    "failed": 0,
                    "bad_icv": 0,
                    "audited": 0,
                    "wrong": 0,
                    "checked": 0,
                    "canaries": 2,
                    "second_looks": 1,
                    "busy_ns": 7,
                    "primary_ns": 0,
                    "secondary_ns": 0,
                    "application_ns": 0,
                }
                for number in self.engines
            },
            "sas": {
                number: {
                    "spi": spec["spi"],
                    "direction": spec["direction"],
                    "traffic": {"packets": 6, "bytes": 600},
                    "seq": self.next_numbers[number],
                    "granted": self.grants.get(number),
                    "in_flight": 0,
                    "drops": {},
                }
                for number, spec in self.sas.items()
            },
            "policies": {},
            "buffers": {"small": 0, "large": 0, "small_made": 0, "large_made": 0},
        }
        return found

    def sa_show(self, sa: int) -> "SaSnapshot | None":
        return self.snapshot()["sas"].get(sa)

    def sa_tops(self, team: int, step: int) -> dict[int, int]:
        return {
            number: self.next_numbers[number]
            for number, spec in self.sas.items()
            if spec["team"] == team
            and spec["direction"] == "in"
            and self.next_numbers[number] - spec["seq"] >= step
        }

    def loads(self) -> "Loads":
        seen = self.snapshot()
        return {
            "time": seen["time"],
            "teams": {number: {"shares": one["shares"]} for number, one in seen["teams"].items()},
            "members": {
                number: {
                    "team": one["team"],
                    "queued": one["queued"],
                    "foreign": one["foreign"],
                }
                for number, one in seen["members"].items()
            },
        }

    def team_add(self, spec: "TeamSpec") -> "TeamAdded":
        self._called("team_add")
        self.teams[spec["id"]] = spec
        index = 77
        if self.system is not None:
            if not spec["adopt"]:
                self.system.add_link(
                    spec["name"], kind="tun", mac=spec["mac"], mtu=spec["mtu"], master=None
                )
            index = self.system.table[spec["name"]].index
        return {"ifindex": index, "offloads": ["csum", "tso4", "tso6", "uso4", "uso6"]}

    def team_remove(self, team: int, *, destroy: bool) -> None:
        self._called("team_remove")
        spec = self.teams.pop(team)
        self.members = {number: one for number, one in self.members.items() if one["team"] != team}
        self.policies.pop(team, None)
        if destroy and self.system is not None:
            self.system.unplug(spec["name"])

    def member_add(self, spec: "MemberSpec") -> "MemberAdded":
        self._called("member_add")
        self.members[spec["id"]] = spec
        link = self.system.table[spec["interface"]] if self.system is not None else None
        return {
            "ifindex": link.index if link is not None else 100 + spec["id"],
            "mac": link.mac if link is not None else f"02:00:00:00:00:{spec['id']:02x}",
            "mtu": link.mtu if link is not None else 1500,
            "rcvbuf": 1 << 23,
            "up": self.up.get(spec["id"], True),
        }

    def member_remove(self, member: int) -> None:
        self._called("member_remove")
        for plan in self.plans.values():
            if plan["team"] not in self.teams:
                continue
            assert all(role["id"] != member for role in plan["members"]), "still in the Plan"
        del self.members[member]

    def engine_add(self, spec: "EngineSpec") -> "EngineVerified":
        self._called("engine_add")
        if spec["name"] in self.refuse:
            raise EngineRefused(spec["name"], "case 1: wrong tag")
        self.engines[spec["id"]] = spec
        return self._verified(spec)

    def _verified(self, spec: "EngineSpec") -> "EngineVerified":
        failing = self.failing.get(spec["name"], [])
        no_way: Transfer = {"ns_per_job": 0, "ns_per_byte": 0.0}
        algorithms = spec.get("algorithms", ["aes-128-gcm-16", "aes-256-gcm-16"])
        pairs: list[tuple[str, Literal["seal", "open"]]] = [
            (algorithm, direction) for algorithm in algorithms for direction in (SEAL, OPEN)
        ]
        if all(pair in failing for pair in pairs):
            raise EngineRefused(spec["name"], "case 1: wrong tag")
        return {
            "capabilities": {
                "kind": spec["kind"],
                "simulated": spec["kind"] == "asic",
                "host_cpu": spec["kind"] == "cpu",
                "lookaside": spec.get("lookaside", True),
                "inline": spec.get("inline", False),
                "primary": spec.get("primary", True),
                "secondary": spec.get("secondary", True),
                "algorithms": algorithms,
                "esn": spec.get("esn", True),
                "max_replay_window": spec.get("max_replay_window", 8192),
                "synchronous": False,
                "sa_slots": None,
                "key_install_ns": 5_000,
                "keys_survive_reset": False,
                "memory_bytes": None,
                "queue_ns": 5_000_000,
                "queue_jobs": spec.get("queue_jobs", 1024),
                "parallel": 1,
                "patience_ns": spec.get("patience_ns", 2_000_000),
                "transfer": spec.get("transfer", no_way),
            },
            "rates": [
                {
                    "algorithm": algorithm,
                    "direction": direction,
                    "ns_per_packet": 50.0,
                    "ns_per_byte": 0.1,
                    "latency_ns": 20000.0,
                    "key_ns": 5_000.0,
                }
                for algorithm, direction in pairs
                if (algorithm, direction) not in failing
            ],
            "latency_ns": 20000,
            "tests": [
                {
                    "algorithm": algorithm,
                    "direction": direction,
                    "passed": (algorithm, direction) not in failing,
                    "evidence": "case 1: wrong tag" if (algorithm, direction) in failing else "",
                }
                for algorithm, direction in pairs
            ],
        }

    def engine_remove(self, engine: int) -> None:
        self._called("engine_remove")
        for plan in self.plans.values():
            if plan["team"] in self.teams:
                named = [grant["engine"] for grant in plan["grants"]["engines"]]
                assert engine not in named, "still in the Plan"
        del self.engines[engine]

    def engine_reset(self, engine: int) -> "EngineVerified":
        self._called("engine_reset")
        self.faults.pop(engine, None)
        return self._verified(self.engines[engine])

    def engine_verify(self, engine: int) -> "EngineVerified":
        self._called("engine_verify")
        return self._verified(self.engines[engine])

    def probe_key(self, team: int, key: bytes) -> None:
        self._called("probe_key")
        assert len(key) == 16
        self.probe_keys[team] = key

    def applications(self, grants: "Grants") -> None:
        self._called("applications")
        self.granted.append(grants)

    def explain(self, team: int, flow: "Flow") -> "Explanation":
        self._called("explain")
        plan = self.plans[team]
        policies = self.policies[team]
        engine = plan["grants"]["engines"][0]["engine"]
        return {
            "policy": policies[0]["id"] if policies else None,
            "action": "protect",
            "rule": "policy",
            "sa": next(iter(self.sas), None),
            "member": plan["receiver"],
            "engine": engine,
            "class": "primary",
            "delivery": "return",
            "deliverer": plan["receiver"],
            "reason": "",
            "why": "its own engine is the cheapest",
            "candidates": [
                {
                    "engine": grant["engine"],
                    "tier": 0,
                    "class": "primary",
                    "backlog_ns": 100,
                    "service_ns": 200,
                    "key_ns": 0,
                    "latency_ns": 20000,
                    "transfer_ns": 0,
                    "bias_ns": 0,
                    "cost_ns": 20300,
                    "verdict": "chosen" if grant["engine"] == engine else "later tier",
                }
                for grant in plan["grants"]["engines"]
            ],
        }

    def last_drop(self, team: int) -> "Drop | None":
        return self.drop

    def engine_fault(self, engine: int, fault: "FaultName", value: int = 0) -> None:
        self._called("engine_fault")
        self.faults[engine] = fault

    def publish(self, plan: "Plan") -> int:
        self._called("publish")
        before = self.plans.get(plan["team"])
        assert before is None or plan["epoch"] > before["epoch"]
        self.plans[plan["team"]] = plan
        return plan["epoch"]

    def sa_add(self, spec: "SaSpec", key: bytes) -> None:
        self._called("sa_add")
        self.sas[spec["id"]] = spec
        self.keys[spec["id"]] = key
        self.next_numbers[spec["id"]] = spec["seq"]
        self.grants[spec["id"]] = spec["granted"]

    def sa_delete(self, sa: int) -> None:
        self._called("sa_delete")
        for policies in self.policies.values():
            for policy in policies:
                assert all(entry["sa"] != sa for entry in policy["sas"]), "still in a bundle"
        del self.sas[sa]

    def sa_grant(self, sa: int, upto: int) -> None:
        self._called("sa_grant")
        self.grants[sa] = upto

    def sa_next_hop(self, sa: int, mac: str | None) -> None:
        self._called("sa_next_hop")
        self.next_hops[sa] = mac

    def policies_set(self, team: int, policies: "list[PolicySpec]") -> None:
        self._called("policies_set")
        self.policies[team] = policies


class FakeSystem:
    """Links, addresses, routes, neighbours, nftables and offloads of a host, in memory.

    It stands for :class:`esprit.control.netlink.Netlink` and, by :meth:`patch`, for the
    functions of the modules that speak to nft and ethtool.
    """

    def __init__(self) -> None:
        self.table: dict[str, Link] = {}
        self.own: list[Address] = []
        self.routing: list[Route] = []
        self.neighbouring: dict[tuple[int, IpAddress], str | None] = {}
        self.managed: set[IpAddress] = set()
        #: Neighbours that the operator entered.
        self.fixed: set[IpAddress] = set()
        self.shut: set[str] = set()
        self.offloads: dict[str, dict[str, bool]] = {}
        self.speeds: dict[str, int] = {}
        self.log: list[str] = []
        # The number of the change that fails; none: all succeed.
        self.fails_at: int | None = None
        self.manages = True
        self._changes = 0

    def add_link(self, name: str, **changes: object) -> Link:
        """Plug an interface in."""
        link = Link(
            index=3 + len(self.table),
            name=name,
            mac=f"02:aa:00:00:00:{len(self.table):02x}",
            mtu=1500,
            up=False,
            carrier=True,
            loopback=False,
            kind="veth",
            master=None,
            gso_max_size=65536,
        )
        link = replace(link, **changes)  # type: ignore[arg-type]
        self.table[name] = link
        self.offloads[name] = {"rx-gro": False, "rx-lro": True, "rx-udp-gro-forwarding": False}
        return link

    def unplug(self, name: str) -> None:
        """Take an interface away, with its addresses and routes."""
        link = self.table.pop(name, None)
        if link is not None:
            self.own = [one for one in self.own if one.index != link.index]
            self.routing = [one for one in self.routing if link.index not in one.oifs]
            self.offloads.pop(name, None)

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put this host in the place of the real one."""
        monkeypatch.setattr(netfilter, "shut", self._shut)
        monkeypatch.setattr(netfilter, "reopen", self._reopen)
        monkeypatch.setattr(netfilter, "is_shut", self._is_shut)
        monkeypatch.setattr(netfilter, "listing", self._listing)
        monkeypatch.setattr(netfilter, "shut_interfaces", lambda listing: set(listing.split()))
        monkeypatch.setattr(ethtool, "speed", self.speeds.get)
        monkeypatch.setattr(identity, "_SYSFS", Path("/nonexistent"))
        monkeypatch.setattr(ethtool, "features", self._features)
        monkeypatch.setattr(ethtool, "set_feature", self._set_feature)

    def state(self) -> tuple[object, ...]:
        """Everything that a team could have changed and must put back."""
        return (
            {name: link.up for name, link in self.table.items()},
            sorted(str(address) for address in self.own),
            sorted(str(route) for route in self.routing),
            frozenset(self.shut),
            {name: dict(found) for name, found in self.offloads.items()},
        )

    def _change(self, what: str) -> None:
        self.log.append(what)
        self._changes += 1
        if self.fails_at is not None and self._changes == self.fails_at:
            raise OSError(errno.EPERM, "Operation not permitted")

    def _at(self, index: int) -> Link:
        for link in self.table.values():
            if link.index == index:
                return link
        raise OSError(errno.ENODEV, "No such device")

    # nftables and ethtool

    async def _shut(self, interface: str) -> None:
        self._change(f"shut {interface}")
        self.shut.add(interface)

    async def _reopen(self, interface: str) -> None:
        self.log.append(f"reopen {interface}")
        self.shut.discard(interface)

    async def _is_shut(self, interface: str) -> bool:
        return interface in self.shut

    async def _listing(self) -> str:
        return " ".join(sorted(self.shut))

    def _features(self, interface: str) -> dict[str, ethtool.Offload]:
        return {
            name: ethtool.Offload(advertised=True, active=on, changeable=True)
            for name, on in self.offloads.get(interface, {}).items()
        }

    def _set_feature(self, interface: str, name: str, *, on: bool) -> None:
        self._change(f"feature {interface} {name} {on}")
        if interface not in self.offloads:
            raise OSError(errno.ENODEV, "No such device")
        self.offloads[interface][name] = on

    # netlink

    async def links(self) -> list[Link]:
        return list(self.table.values())

    async def link(self, name: str) -> Link | None:
        return self.table.get(name)

    async def link_at(self, index: int) -> Link | None:
        return next((link for link in self.table.values() if link.index == index), None)

    async def set_up(self, index: int, *, up: bool) -> None:
        link = self._at(index)
        self._change(f"{'up' if up else 'down'} {link.name}")
        self.table[link.name] = replace(link, up=up)

    async def set_mtu(self, index: int, mtu: int) -> None:
        link = self._at(index)
        self._change(f"mtu {link.name} {mtu}")
        self.table[link.name] = replace(link, mtu=mtu)

    async def set_gso_max_size(self, index: int, size: int) -> None:
        link = self._at(index)
        self.table[link.name] = replace(link, gso_max_size=size)

    async def delete_link(self, index: int) -> None:
        self.unplug(self._at(index).name)

    async def addresses(self, index: int | None = None) -> list[Address]:
        return [address for address in self.own if index in (None, address.index)]

    async def add_address(self, index: int, interface: IpInterface) -> None:
        self._change(f"address {interface}")
        self.own.append(Address(index=index, interface=interface, link_scope=False, usable=True))

    async def delete_address(self, index: int, interface: IpInterface) -> None:
        self.own = [one for one in self.own if (one.index, one.interface) != (index, interface)]

    async def routes(self) -> list[Route]:
        return list(self.routing)

    async def route_to(self, destination: IpAddress, oif: int | None = None) -> Route | None:
        for route in self.routing:
            if route.destination is not None and destination in route.destination:
                return route
        for address in self.own:
            if destination in address.interface.network and oif in (None, address.index):
                return Route(
                    destination=address.interface.network,
                    gateway=None,
                    source=None,
                    oifs=(address.index,),
                    table=254,
                )
        return None

    async def add_route(
        self,
        destination: IpNetwork,
        oif: int,
        *,
        gateway: IpAddress | None,
        source: IpAddress | None,
    ) -> None:
        self._change(f"route {destination}")
        self.routing.append(
            Route(destination=destination, gateway=gateway, source=source, oifs=(oif,), table=254)
        )

    async def delete_route(
        self,
        destination: IpNetwork,
        oif: int,
        *,
        gateway: IpAddress | None,
        source: IpAddress | None,
    ) -> None:
        self.routing = [route for route in self.routing if route.destination != destination]

    async def neighbours(self, index: int) -> list[Neighbour]:
        return [
            Neighbour(
                index=index,
                address=address,
                mac=mac,
                fixed=address in self.fixed,
                managed=self.manages and address in self.managed,
            )
            for (at, address), mac in self.neighbouring.items()
            if at == index
        ]

    async def manage_neighbour(self, index: int, address: IpAddress) -> bool:
        self.managed.add(address)
        self.neighbouring.setdefault((index, address), None)
        return self.manages

    async def delete_neighbour(self, index: int, address: IpAddress) -> None:
        self.managed.discard(address)
        self.neighbouring.pop((index, address), None)

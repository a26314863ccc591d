"""A data plane in memory: it keeps the same books and moves no packet."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final, Literal

from esprit.errors import DataPlaneError, EngineRefused

if TYPE_CHECKING:
    from tests.unit.fake_system import FakeSystem

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

    def __init__(self, system: FakeSystem | None = None) -> None:
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
        #: By whom and for whom a packet would be sealed, if not by the first engine.
        self.placed: dict[str, int] = {}
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

    def happen(self, event: Event) -> None:
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

    def events(self) -> list[Event]:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)
        found, self._events = self._events, []
        return found

    def snapshot(self) -> Snapshot:
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

    def sa_show(self, sa: int) -> SaSnapshot | None:
        return self.snapshot()["sas"].get(sa)

    def sa_tops(self, team: int, step: int) -> dict[int, int]:
        return {
            number: self.next_numbers[number]
            for number, spec in self.sas.items()
            if spec["team"] == team
            and spec["direction"] == "in"
            and self.next_numbers[number] - spec["seq"] >= step
        }

    def loads(self) -> Loads:
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

    def team_add(self, spec: TeamSpec) -> TeamAdded:
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

    def member_add(self, spec: MemberSpec) -> MemberAdded:
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

    def engine_add(self, spec: EngineSpec) -> EngineVerified:
        self._called("engine_add")
        if spec["name"] in self.refuse:
            raise EngineRefused(spec["name"], "case 1: wrong tag")
        self.engines[spec["id"]] = spec
        return self._verified(spec)

    def _verified(self, spec: EngineSpec) -> EngineVerified:
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

    def engine_reset(self, engine: int) -> EngineVerified:
        self._called("engine_reset")
        self.faults.pop(engine, None)
        return self._verified(self.engines[engine])

    def engine_verify(self, engine: int) -> EngineVerified:
        self._called("engine_verify")
        return self._verified(self.engines[engine])

    def probe_key(self, team: int, key: bytes) -> None:
        self._called("probe_key")
        assert len(key) == 16
        self.probe_keys[team] = key

    def applications(self, grants: Grants) -> None:
        self._called("applications")
        self.granted.append(grants)

    def explain(self, team: int, flow: Flow) -> Explanation:
        self._called("explain")
        plan = self.plans[team]
        policies = self.policies[team]
        engine = self.placed.get("engine", plan["grants"]["engines"][0]["engine"])
        member = self.placed.get("member", plan["receiver"])
        return {
            "policy": policies[0]["id"] if policies else None,
            "action": "protect",
            "rule": "policy",
            "sa": next(iter(self.sas), None),
            "member": member,
            "engine": engine,
            "class": "primary",
            "delivery": "return",
            "deliverer": member,
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

    def last_drop(self, team: int) -> Drop | None:
        return self.drop

    def engine_fault(self, engine: int, fault: FaultName, value: int = 0) -> None:
        self._called("engine_fault")
        self.faults[engine] = fault

    def publish(self, plan: Plan) -> int:
        self._called("publish")
        before = self.plans.get(plan["team"])
        assert before is None or plan["epoch"] > before["epoch"]
        self.plans[plan["team"]] = plan
        return plan["epoch"]

    def sa_add(self, spec: SaSpec, key: bytes) -> None:
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

    def policies_set(self, team: int, policies: list[PolicySpec]) -> None:
        self._called("policies_set")
        self.policies[team] = policies

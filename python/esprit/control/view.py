"""What is shown of a running team: its state and the data plane's counters, by name."""

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

from esprit.control.features import features
from esprit.daemon.resources import (
    Counter,
    EngineResource,
    FeatureResource,
    MaskResource,
    MemberResource,
    PolicyResource,
    SaResource,
    ServedResource,
    Stats,
    TeamResource,
)
from esprit.model import Mask, MemberState, Served
from esprit.model.security import Policy

if TYPE_CHECKING:
    from esprit._native import Snapshot
    from esprit.control.host import RunningEngine
    from esprit.control.members import RunningMember
    from esprit.control.securing import RunningSa
    from esprit.control.team import RunningTeam

_NOTHING: Counter = {"packets": 0, "bytes": 0}

# The rules that stand before every policy, as the data plane tries them (spd.rs), and the
# defaults behind the last: name, action, remote, protocol, local port.
BEFORE: tuple[tuple[str, str, str, str | None, str | None], ...] = (
    ("ike", "bypass", "any", "udp", "500"),
    ("ike-nat-t", "bypass", "any", "udp, non-ESP marker", "4500"),
    ("arp", "bypass", "any", "arp", None),
    ("neighbour-discovery", "bypass", "any", "icmpv6 133-137", None),
)
BEHIND: tuple[tuple[str, str, str, str | None, str | None], ...] = (
    ("default-protected", "discard", "what a protect policy or its SAs name", None, None),
    ("default", "bypass", "any", None, None),
)

# IANA's numbers that people know by name; others are shown as numbers.
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 47: "gre", 58: "icmpv6", 132: "sctp"}


class View:
    """One look at a team."""

    def __init__(self, team: "RunningTeam", snapshot: "Snapshot") -> None:
        self._team = team
        self._snapshot = snapshot
        self._names = team.member_names()

    def team(self) -> TeamResource:
        """The team with its members."""
        team = self._team
        state = team.state
        plan = state.plan
        seen = self._snapshot["teams"].get(team.id)
        # The data plane counts from its own side; the host sees the virtual NIC from the other.
        stats: Stats = {"rx": dict_of(seen and seen["tx"]), "tx": dict_of(seen and seen["rx"])}
        # The data plane's own view of who carries: it may have moved the traffic already.
        active = list(seen["active"]) if seen is not None else []
        receiver = seen["receiver"] if seen is not None else None
        return {
            "ifname": team.name,
            "ifindex": team.index,
            "link_type": "ether",
            "address": team.mac,
            "mtu": team.mtu,
            "operstate": "UP" if active and not team.upkeep.gone else "DOWN",
            "mode": state.mode,
            "failback": state.failback,
            "software": state.software,
            "delivery": state.delivery,
            "mac": "member" if plan is not None and plan.source_mac == "member" else "team",
            "active": [self._names[number] for number in active if number in self._names],
            "receiver": None if receiver is None else self._names.get(receiver),
            "epoch": 0 if plan is None else plan.epoch,
            "stats64": stats,
            "drops": dict(seen["drops"]) if seen is not None else {},
            "failback_delay_ms": state.failback_delay_ns / 1e6,
            "preferred": state.preferred or None,
            "up_delay_ms": state.up_delay_ns / 1e6,
            "down_delay_ms": state.down_delay_ns / 1e6,
            "headroom": state.headroom,
            "receive": state.receive,
            "verify": state.verify_every,
            "probe": {
                "every_ms": state.probe.every_ns / 1e6,
                "miss": state.probe.miss,
                "of": state.probe.of,
                "hold_ms": state.probe.hold_ns / 1e6,
                "target": [str(target) for target in state.probe.targets],
            },
            "direct": self._named(() if plan is None else plan.direct),
            "mask": self._mask(None if plan is None else plan.mask),
            "ipsec": plan is not None and plan.ipsec,
            "members": self.members(),
        }

    def _named(self, members: Iterable[int]) -> list[str]:
        return [self._names[number] for number in members if number in self._names]

    def _mask(self, mask: Mask | None) -> MaskResource:
        def lines(served: Iterable[Served]) -> list[ServedResource]:
            return [
                {
                    "algorithm": one.algorithm,
                    "own": self._named(one.own),
                    "backed": self._named(one.backed),
                }
                for one in served
            ]

        return {
            "seal": lines(() if mask is None else mask.seal),
            "open": lines(() if mask is None else mask.open),
        }

    def members(self) -> list[MemberResource]:
        """The members, in the order of the configuration."""
        return [self._member(member) for member in self._team.members.values()]

    def _member(self, member: "RunningMember") -> MemberResource:
        team = self._team
        seen = self._snapshot["members"].get(member.id)
        own = self._snapshot["teams"].get(team.id)
        known = team.state.member(member.id)
        up = seen is not None and seen["up"]
        engine = team.host.engine_of(member.id)
        receiver = own["receiver"] if own is not None else None
        operstate: Literal["UP", "DOWN"] = "UP" if up else "DOWN"
        return {
            "ifname": member.spec.interface,
            "ifindex": member.index,
            "master": team.name,
            "address": member.mac,
            "mtu": member.mtu,
            "operstate": operstate,
            "role": self._role(member, up=up),
            "receiver": receiver == member.id,
            "carry": member.spec.carry,
            "latched": seen is not None and seen["latched"] is not None,
            "priority": member.spec.priority,
            "engine": None if engine is None else engine.spec.name,
            "stats64": {"rx": dict_of(seen and seen["rx"]), "tx": dict_of(seen and seen["tx"])},
            "rcvbuf": member.rcvbuf,
            "queued": seen["queued"] if seen is not None else 0,
            "drops": dict(seen["drops"]) if seen is not None else {},
            "speed": None if known is None else known.speed,
            "preferred": member.spec.interface == team.state.preferred,
            "heard": known is None or known.heard,
            "held_ms": self._held_ms(known),
            "probes": {
                "sent": seen["probes_sent"] if seen is not None else 0,
                "heard": seen["probes_heard"] if seen is not None else 0,
                "missed": seen["probes_missed"] if seen is not None else 0,
            },
            "direct": seen["direct"] if seen is not None else 0,
            "tx_errors": seen["tx_errors"] if seen is not None else 0,
            "foreign": seen["foreign"] if seen is not None else None,
        }

    @staticmethod
    def _held_ms(member: MemberState | None) -> int:
        if member is None or not member.can_carry:
            return 0
        return max(0, member.held_until - time.monotonic_ns()) // 1_000_000

    def _role(self, member: "RunningMember", *, up: bool) -> str:
        own = self._snapshot["teams"].get(self._team.id)
        known = self._team.state.member(member.id)
        if known is None or known.link == "gone" or not up:
            return "down"
        if not member.spec.carry:
            return "encryption-only"
        if known.deaf:
            return "deaf"
        return "active" if own is not None and member.id in own["active"] else "waiting"

    def engines(self) -> list[EngineResource]:
        """The engines of the pool."""
        return [self._engine(engine) for engine in self._team.host.engines()]

    def _engine(self, engine: "RunningEngine") -> EngineResource:
        state = self._team.state
        plan = state.plan
        grant = next(
            (one for one in plan.grants if one.engine == engine.id), None
        ) if plan is not None else None  # fmt: skip
        seen = self._snapshot["engines"].get(engine.id)
        known = state.engine(engine.id)
        told = engine.verified["capabilities"]
        trouble = self._team.host.evidence.against(engine.spec.name)
        health = known.health if known is not None else "untested"
        if seen is not None and health in ("ok", "suspect"):
            health_shown: str = seen["health"]
        else:
            health_shown = health
        return {
            "name": engine.spec.name,
            "kind": engine.spec.kind,
            "simulated": engine.spec.simulated,
            "ifname": None if engine.member is None else self._names.get(engine.member),
            "health": health_shown,
            "algorithms": list(told["algorithms"]),
            "lookaside": told["lookaside"],
            "inline": told["inline"],
            "primary_use": told["primary"],
            "secondary_use": told["secondary"],
            "esn": told["esn"],
            "max_replay_window": told["max_replay_window"],
            "queue_ns": told["queue_ns"],
            "queue_jobs": told["queue_jobs"],
            "memory": told["memory_bytes"],
            "sa_slots": told["sa_slots"],
            "key_install_ns": told["key_install_ns"],
            "transfer": told["transfer"],
            "patience_ns": told["patience_ns"],
            # It is part of the latency that was measured, so the data plane does not ask for it.
            "coalesce_ns": engine.spec.coalesce_ns or 0,
            "latency_ns": engine.latency_ns,
            "rates": [
                {
                    "algorithm": rate["algorithm"],
                    "direction": rate["direction"],
                    "ns_per_packet": rate["ns_per_packet"],
                    "ns_per_byte": rate["ns_per_byte"],
                }
                for rate in engine.verified["rates"]
            ],
            "tiers": {
                "primary": grant.primary if grant is not None else None,
                "secondary": grant.secondary if grant is not None else None,
                "application": grant.application if grant is not None else None,
            },
            "jobs": _count(seen, "jobs"),
            "packets": _count(seen, "packets"),
            "bytes": _count(seen, "bytes"),
            "primary_jobs": _count(seen, "primary"),
            "secondary_jobs": _count(seen, "secondary"),
            "redone": _count(seen, "redone"),
            "late": _count(seen, "late"),
            "failed": _count(seen, "failed"),
            "bad_icv": _count(seen, "bad_icv"),
            "backlog_ns": _count(seen, "backlog_ns"),
            "busy_ns": _count(seen, "busy_ns"),
            "tests": [
                {
                    "algorithm": test.algorithm,
                    "direction": test.direction,
                    "passed": test.passed,
                    "evidence": test.evidence,
                }
                for test in engine.state().tests
            ],
            "evidence": [] if trouble is None else list(trouble.lines),
            "since": None if trouble is None else trouble.since,
            "retest": self._team.upkeep.retests.due.get(engine.spec.name),
            "application_jobs": _count(seen, "application"),
            "checked": _count(seen, "checked"),
            "canaries": _count(seen, "canaries"),
            "audited": _count(seen, "audited"),
            "second_looks": _count(seen, "second_looks"),
            "outstanding": _count(seen, "outstanding"),
            "wrong": _count(seen, "wrong"),
            "primary_ns": _count(seen, "primary_ns"),
            "secondary_ns": _count(seen, "secondary_ns"),
            "application_ns": _count(seen, "application_ns"),
        }

    def sas(self) -> list[SaResource]:
        """The security associations, without their keys."""
        return [self._sa(running) for running in self._team.securing.sas]

    def _sa(self, running: "RunningSa") -> SaResource:
        sa = running.sa
        seen = self._snapshot["sas"].get(running.id)
        policy = self._team.securing.policy_of(sa)
        hops = self._team.upkeep.next_hops
        return {
            "name": sa.name,
            "dir": sa.direction,
            "src": str(sa.src),
            "dst": str(sa.dst),
            "proto": "esp",
            "spi": f"{sa.spi:#010x}",
            "mode": sa.mode,
            "aead": sa.cipher,
            "icv": 128,
            "esn": sa.esn,
            "replay_window": sa.replay_window if not running.outbound else 0,
            "encap": None
            if sa.encap is None
            else {"type": "espinudp", "sport": sa.encap.sport, "dport": sa.encap.dport},
            "weight": sa.weight,
            "dev": sa.member,
            "policy": None if policy is None else policy.policy.name,
            "next_hop": hops.mac_of(sa.dst) if running.outbound and hops is not None else None,
            "seq": seen["seq"] if seen is not None else 0,
            "granted": seen["granted"] if seen is not None else None,
            **dict_of(seen and seen["traffic"]),
            "drops": dict(seen["drops"]) if seen is not None else {},
        }

    def policies(self) -> list[PolicyResource]:
        """The SPD in the order in which it matches, with the rules before and behind it."""
        found = [_built_in(*rule, index=0) for rule in BEFORE]
        securing = self._team.securing
        for index, running in enumerate(securing.policies, start=1):
            policy = running.policy
            counted = dict_of(self._snapshot["policies"].get(running.id))
            found.append(
                PolicyResource(
                    name=policy.name,
                    index=index,
                    action=policy.action,
                    src=str(policy.local),
                    dst=str(policy.remote),
                    proto=_protocol(policy),
                    sport=_ports(policy.local_port),
                    dport=_ports(policy.remote_port),
                    builtin=False,
                    sas=[one.sa.name for one in securing.bundle(running)],
                    packets=counted["packets"],
                    bytes=counted["bytes"],
                )
            )
        last = len(securing.policies) + 1
        return found + [_built_in(*rule, index=last) for rule in BEHIND]

    def features(self) -> list[FeatureResource]:
        """What the team offers as one NIC, and who provides it."""
        return features(self._team)


def dict_of(found: "Counter | None") -> Counter:
    """A counter, zero where the data plane knows of none."""
    return (
        _NOTHING.copy() if found is None else {"packets": found["packets"], "bytes": found["bytes"]}
    )


def _built_in(
    name: str, action: str, remote: str, protocol: str | None, port: str | None, *, index: int
) -> PolicyResource:
    return {
        "name": name,
        "index": index,
        "action": action,
        "src": "any",
        "dst": remote,
        "proto": protocol,
        "sport": port,
        "dport": None,
        "builtin": True,
        "sas": [],
        "packets": 0,
        "bytes": 0,
    }


def _protocol(policy: Policy) -> str | None:
    if policy.protocol is None:
        return None
    return PROTOCOLS.get(policy.protocol, str(policy.protocol))


def _ports(ports: tuple[int, int] | None) -> str | None:
    if ports is None:
        return None
    return str(ports[0]) if ports[0] == ports[1] else f"{ports[0]}-{ports[1]}"


def _count(found: Mapping[str, object] | None, key: str) -> int:
    """A counter of an engine; 0 where the pool knows none of that name, or not the engine."""
    value = None if found is None else found.get(key)
    return value if isinstance(value, int) else 0

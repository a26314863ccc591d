"""A scenario as a host in virtual time: teams, members, engines, SAs and traffic."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from esprit import _native
from esprit.errors import EngineRefused
from esprit.model import Capabilities, EngineSpec, EngineState, MemberState, Rate, TeamState
from esprit.model.words import Health
from esprit.sim import addresses
from esprit.sim.placement import Placement, adapted
from esprit.sim.scenario import Application, Member, Scenario, Team, Traffic


@dataclass(slots=True)
class Engine:
    """An engine of the pool."""

    id: int
    spec: EngineSpec
    member: int | None
    verified: _native.EngineVerified | None = None

    def state(self, health: Health = "ok") -> EngineState:
        """What modes know of it, as of its last test."""
        found = self.verified
        rates = () if found is None else found["rates"]
        return EngineState(
            id=self.id,
            name=self.spec.name,
            kind=self.spec.kind,
            member=self.member,
            health=health if found is not None else "failed",
            capabilities=(
                Capabilities()
                if found is None
                else Capabilities.from_native(dict(found["capabilities"]))
            ),
            rates=tuple(
                Rate(
                    algorithm=rate["algorithm"],
                    direction=rate["direction"],
                    ns_per_packet=rate["ns_per_packet"],
                    ns_per_byte=rate["ns_per_byte"],
                )
                for rate in rates
            ),
            latency_ns=int(max((rate["latency_ns"] for rate in rates), default=0.0)),
        )


@dataclass(slots=True)
class Host:
    """What was made of a scenario, by number and by name."""

    scenario: Scenario
    native: _native.Simulation
    teams: dict[str, int] = field(default_factory=dict)
    members: dict[str, int] = field(default_factory=dict)
    specs: dict[int, tuple[int, Member]] = field(default_factory=dict)
    engines: dict[str, Engine] = field(default_factory=dict)
    states: dict[int, TeamState] = field(default_factory=dict)
    #: Each team's SPD, as the data plane has it.
    policies: dict[int, list[_native.PolicySpec]] = field(default_factory=dict)
    #: Out and in SAs that were made, for the report.
    sas: int = 0
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def member_state(self, number: int, *, up: bool) -> MemberState:
        """What modes know of a member."""
        spec = self.specs[number][1]
        return MemberState(
            id=number,
            interface=spec.interface,
            link="up" if up else "down",
            carry=spec.carry,
            priority=spec.priority,
            weight=spec.weight,
            foreign=spec.foreign,
            speed=spec.speed,
        )

    def add_member(self, number: int, *, up: bool) -> None:
        """Open a member's port."""
        team, spec = self.specs[number]
        self.native.member_add(
            {
                "id": number,
                "team": team,
                "mac": addresses.mac(2, number),
                "rate_bps": spec.rate_bps,
                "mtu": spec.mtu,
                "ring": spec.ring,
                "up": up,
            }
        )

    def admit(self, engine: Engine) -> bool:
        """Make and test an engine; says whether it is in the pool."""
        try:
            engine.verified = self.native.engine_add(
                engine.spec.to_native(id=engine.id, member=engine.member)
            )
        except EngineRefused as error:
            engine.verified = None
            self.native.note("engine-refused", f"engine={engine.spec.name} {error.message}")
        return engine.verified is not None

    def move_sas(self, old: int, new: int) -> None:
        """Let SAs that are one member's be another's, which has taken its place."""
        number = self.specs[old][0]

        def moved(of: int | None) -> int | None:
            return new if of == old else of

        def bundle(sas: list[_native.BundleEntry]) -> list[_native.BundleEntry]:
            own = any(entry["member"] == old for entry in sas)
            # Its own, with which it would have joined, gives way.
            kept = (entry for entry in sas if not (own and entry["member"] == new))
            return [{"member": moved(entry["member"]), "sa": entry["sa"]} for entry in kept]

        self.policies[number] = [
            {**policy, "sas": bundle(policy["sas"])} for policy in self.policies[number]
        ]
        self.native.policies_set(number, self.policies[number])

    def new_engine(self, spec: EngineSpec, member: int | None) -> Engine:
        """A number for an engine, not yet in the pool."""
        engine = Engine(next(self._ids), spec, member)
        self.engines[spec.name] = engine
        return engine


def build(scenario: Scenario, *, placement: Placement | None = None) -> Host:
    """Make the host; nothing is published yet."""
    seed = scenario.seed
    native = _native.Simulation(
        {
            "seed": seed,
            "control_ns": scenario.control_ns,
            "turn_ns": scenario.turn_ns,
            "buffers": scenario.buffers,
            "checked": _checked(scenario),
            "job_rows": scenario.job_rows,
        },
        None if placement is None else adapted(placement),
    )
    host = Host(scenario, native)
    for index, team in enumerate(scenario.teams):
        _add_team(host, index, team)
    for spec in scenario.engines:
        if spec.name not in scenario.joining:
            host.admit(host.new_engine(spec, None))
    for number, state in host.states.items():
        # The pool is the host's: every team may use every engine.
        engines = tuple(engine.state() for engine in host.engines.values())
        host.states[number] = replace(state, engines=engines)
    for index, team in enumerate(scenario.teams):
        _add_sas(host, index, team, seed)
    for traffic in scenario.traffic:
        host.native.traffic_add(_traffic(host, traffic))
    for application in scenario.applications:
        _add_application(host, application)
    return host


def _checked(scenario: Scenario) -> bool:
    """Whether all that is sealed is checked before it leaves, at all times."""
    begun = [team.verify_every for team in scenario.teams]
    later = (fault.settings.get("verify_every", 1) for fault in scenario.faults)
    return all(every == 1 for every in (*begun, *later))


def _add_application(host: Host, wanted: Application) -> None:
    stop = host.scenario.duration if wanted.stop_ns is None else wanted.stop_ns
    key = addresses.key(host.scenario.seed, next(host._ids), wanted.cipher)
    host.native.application_add(
        {
            "name": wanted.name,
            "direction": wanted.direction,
            "size": wanted.size,
            "packets": wanted.messages,
            "window": wanted.window,
            "rate_bps": wanted.rate_bps,
            "start_ns": wanted.start_ns,
            "stop_ns": stop,
        },
        key[: wanted.cipher // 8],
    )


def _add_team(host: Host, index: int, team: Team) -> None:
    number = next(host._ids)
    mac = addresses.mac(1, number)
    host.teams[team.name] = number
    host.native.team_add({"id": number, "name": team.name, "mac": mac, "mtu": 0, "adopt": False})
    states = []
    for spec in team.members:
        id_ = next(host._ids)
        host.members[spec.interface] = id_
        host.specs[id_] = (number, spec)
        if spec.joins:
            continue
        host.add_member(id_, up=spec.up)
        states.append(host.member_state(id_, up=spec.up))
        if spec.engine is not None:
            host.admit(host.new_engine(spec.engine, id_))
    settings = dict(team.settings)
    if team.verify_every is not None:
        settings["verify_every"] = team.verify_every
    frames = (_gratuitous(mac),) if host.scenario.announce else ()
    host.states[number] = TeamState(
        id=number,
        name=team.name,
        members=tuple(states),
        announcements=frames,
        **settings,  # type: ignore[arg-type]
    )


def _gratuitous(mac: str) -> bytes:
    own = bytes.fromhex(mac.replace(":", ""))
    return b"\xff" * 6 + own + b"\x08\x06" + bytes.fromhex("0001080006040001") + own + bytes(16)


def _add_sas(host: Host, index: int, team: Team, seed: int) -> None:
    number = host.teams[team.name]
    wanted = team.sas
    members = [host.members[member.interface] for member in team.members]
    policies: list[_native.PolicySpec] = []

    def add(direction: _native.Direction, spi: int, member: int | None, policy: int) -> int:
        id_ = next(host._ids)
        ends = (addresses.gateway(index), addresses.peer(index))
        if wanted.mode == "transport":
            ends = (addresses.local(index, policy), addresses.remote(index, policy))
        src, dst = ends if direction == "out" else ends[::-1]
        spec: _native.SaSpec = {
            "id": id_,
            "team": number,
            "direction": direction,
            "spi": spi,
            "src": str(src),
            "dst": str(dst),
            "mode": wanted.mode,
            "algorithm": "aes-gcm-16",
            "esn": wanted.esn,
            "replay_window": wanted.replay_window if direction == "in" else 0,
            "encap": {"sport": 4500, "dport": 4500} if wanted.udp else None,
            "weight": wanted.weights[policy % len(wanted.weights)],
            "member": member,
            "policy": first + policy,
            "seq": 1 if direction == "out" else 0,
            "granted": (1 << 64) - 1 if wanted.esn else 1 << 32,
        }
        host.native.sa_add(spec, addresses.key(seed, id_, wanted.cipher))
        host.sas += 1
        return id_

    first = next(host._ids)
    for _ in range(wanted.policies - 1):
        next(host._ids)
    for policy in range(wanted.policies):
        carriers: list[int | None] = [*members] if wanted.bundle else [None]
        bundle = []
        for member in carriers:
            spi = out_spi(index, policy, 0 if member is None else members.index(member))
            bundle.append((member, add("out", spi, member, policy)))
        for place in range(max(len(members) if wanted.bundle else 1, 1)):
            add("in", in_spi(index, policy, place), None, policy)
        policies.append(
            {
                "id": first + policy,
                "name": f"policy{policy}",
                "action": "protect",
                "local": str(addresses.network(addresses.local(index, policy))),
                "remote": str(addresses.network(addresses.remote(index, policy))),
                "protocol": None,
                "local_port": None,
                "remote_port": None,
                "sas": [{"member": member, "sa": sa} for member, sa in bundle],
            }
        )
    host.policies[number] = policies
    host.native.policies_set(number, policies)


def out_spi(team: int, policy: int, member: int) -> int:
    """The SPI of an outbound SA."""
    return 0x1000_0000 + (team << 22) + policy * 256 + member + 256


def in_spi(team: int, policy: int, member: int) -> int:
    """The SPI of an inbound SA."""
    return 0x8000_0000 + (team << 22) + policy * 256 + member + 256


def _traffic(host: Host, wanted: Traffic) -> _native.TrafficSpec:
    index = list(host.teams).index(wanted.team)
    team = host.scenario.teams[index]
    inbound = wanted.direction == "in"
    flows: list[_native.TrafficFlow] = []
    for flow in range(wanted.flows):
        policy = flow % team.sas.policies
        ends = (addresses.local(index, policy), addresses.remote(index, policy))
        if wanted.plain:
            ends = (addresses.local(index, policy), addresses.bypassed(index))
        src, dst = ends if not inbound else ends[::-1]
        via = wanted.via[flow % len(wanted.via)] if wanted.via else None
        places = [member.interface for member in team.members]
        place = places.index(via) if via is not None and team.sas.bundle else 0
        flows.append(
            {
                "src": str(src),
                "dst": str(dst),
                "sport": 1024 + flow % 60000,
                "dport": 5000 + flow // 60000,
                "spi": in_spi(index, policy, place) if inbound and not wanted.plain else None,
                "via": None if via is None else host.members[via],
            }
        )
    rate = wanted.rate_bps
    if wanted.load is not None:
        rate = int(wanted.load * _capacity(host, wanted))
    spec: dict[str, object] = {
        "name": wanted.name,
        "team": host.teams[wanted.team],
        "inbound": inbound,
        "plain": wanted.plain,
        "asks": wanted.asks,
        "flows": flows,
        "sizes": {"mix": [list(pair) for pair in wanted.sizes]},
        "start_ns": wanted.start_ns,
        "stop_ns": host.scenario.duration if wanted.stop_ns is None else wanted.stop_ns,
        "burst": wanted.burst,
    }
    if wanted.pattern == "pcap":
        spec |= {"pattern": "recorded", "packets": [list(pair) for pair in wanted.packets]}
    elif wanted.pattern == "on-off":
        on, off = wanted.on_ns, wanted.off_ns
        spec |= {"pattern": "on-off", "rate_bps": rate, "on_ns": on, "off_ns": off}
    else:
        spec |= {"pattern": wanted.pattern, "rate_bps": rate}
    return spec  # type: ignore[return-value]


def _capacity(host: Host, wanted: Traffic) -> float:
    """Bits of IP packets per second that all engines seal together at these sizes."""
    team = next(team for team in host.scenario.teams if team.name == wanted.team)
    direction = "open" if wanted.direction == "in" else "seal"
    weight = sum(weight for _, weight in wanted.sizes)
    mean = sum(size * weight for size, weight in wanted.sizes) / weight
    return sum(
        packets_per_second(engine, team.sas.cipher, direction, mean + 4) * mean * 8
        for engine in host.engines.values()
    )


def packets_per_second(engine: Engine, bits: int, direction: str, size: float) -> float:
    """What an engine does of packets of ``size`` bytes, by its measured rates."""
    if engine.verified is None:
        return 0.0
    for rate in engine.verified["rates"]:
        if rate["algorithm"] == f"aes-{bits}-gcm-16" and rate["direction"] == direction:
            each = rate["ns_per_packet"] + size * rate["ns_per_byte"]
            return 1e9 / each if each > 0 else 0.0
    return 0.0

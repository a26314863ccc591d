"""The tables of the file, as pydantic models. They do not leave this package.

A field's description is one line for those who write the file.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from esprit.config.values import (
    WITH_PORTS,
    Address,
    Destination,
    Duration,
    InterfaceAddress,
    InterfaceName,
    KeyText,
    Mac,
    Network,
    ObjectName,
    Ports,
    Protocol,
    Rate,
    Sampling,
    Size,
    Spi,
    fault,
)
from esprit.model.security import (
    REPLAY_WINDOW_DEFAULT,
    REPLAY_WINDOW_MAX,
    REPLAY_WINDOW_MIN,
    SA_WEIGHT_MAX,
)
from esprit.model.words import (
    Action,
    Delivery,
    Direction,
    Failback,
    ModeName,
    Receive,
    SaMode,
    Software,
)

#: The least MTU by which every host takes IPv4 (RFC 791), and the most that a TAP takes.
MTU_MIN, MTU_MAX = 576, 65521

#: Probes more often than this would cost a gigabit link's worker more than they find out.
PROBE_MIN_NS = 1_000_000

#: Delays up to an hour: what is longer is no delay but a decision for an operator.
Delay = Annotated[Duration, Field(le=3_600_000_000_000)]

#: The longest ring of a virtio device (virtio 1.2, section 2.7), and longer than those of NICs.
QUEUE_JOBS_MAX = 32768

#: An accepted job is given up after ten seconds; who waits longer never finds an engine hung.
PATIENCE_MAX_NS = 10_000_000_000

#: At 1 the active member's own traffic takes twice its time, which is no spare resource any more.
Headroom = Annotated[float, Field(ge=0, le=1)]

_ASIC_KEYS = (
    "rate",
    "per_packet",
    "latency",
    "coalesce",
    "queue",
    "queue_jobs",
    "memory",
    "sa_slots",
    "key_install",
    "transfer",
    "transfer_rate",
    "patience",
    "esn",
    "max_replay_window",
    "algorithms",
    "lookaside",
    "inline",
    "primary",
    "secondary",
)


class Table(BaseModel):
    """A table: unknown keys are faults, nothing is coerced, no fault shows what was written."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
    )


def _mac_of_what(value: object) -> object:
    if isinstance(value, str) and value.count(":") == 5:
        raise fault(
            "says whose address members send, not which",
            'write "team" or "member"; the team\'s own address is hwaddr',
        )
    return value


def _mode(value: object) -> object:
    if value in ("independent", "802.3ad", "balance-rr", "balance-xor", "balance-tlb", "broadcast"):
        raise fault(f'"{value}" does not exist', 'write "active-backup" or "balance-alb"')
    return value


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


class RouteTable(Table):
    """A route over the virtual NIC."""

    to: Destination = Field(description="destination network, or default")
    via: Address | None = Field(None, description="next hop")
    src: Address | None = Field(None, description="preferred source address")

    @model_validator(mode="after")
    def _families(self) -> Self:
        if self.to is None and self.via is None:
            raise fault("has no next hop", "say via which address the default route goes")
        parts = (self.to, self.via, self.src)
        versions = {part.version for part in parts if part is not None}
        if len(versions) > 1:
            raise fault("mixes IPv4 and IPv6", "write one route for each")
        return self


class RuleTable(Table):
    """A rule on interfaces: patterns, all of which have to match."""

    interface: str | None = Field(None, description="its name")
    kind: str | None = Field(None, description="physical, or what kind of virtual one")
    driver: str | None = Field(None, description="the kernel's driver")
    bus: str | None = Field(None, description="its place on the bus")
    vendor: str | None = Field(None, description="PCI vendor, such as 0x8086")
    device: str | None = Field(None, description="PCI device")
    subsystem: str | None = Field(None, description="PCI subsystem, vendor:device")
    revision: str | None = Field(None, description="PCI revision")
    firmware: str | None = Field(None, description="firmware version")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise fault("matches nothing", 'name a field, such as driver = "ixgbe*"')
        return self


class ProbeTable(Table):
    """How a member is found that is up and hears nothing."""

    enabled: bool = Field(True, description="false: members are not probed")
    every: Duration = Field(100_000_000, le=10_000_000_000, description="between two probes")
    miss: int = Field(3, ge=1, le=64, description="deaf is a member that missed so many")
    of: int = Field(5, ge=1, le=64, description="of the last so many")
    hold: Duration = Field(
        1_000_000_000, le=3_600_000_000_000, description="it hears again after so long without miss"
    )
    target: Annotated[list[Address], BeforeValidator(_one_or_more)] = Field(
        default_factory=list, description="neighbours that are asked besides"
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.miss > self.of:
            raise fault("can never miss more than it asks", "write miss no larger than of")
        if 0 < self.every < PROBE_MIN_NS:
            raise fault("probes more often than every millisecond", 'write every = "1ms" or more')
        return self


class TeamTable(Table):
    """The team and its virtual NIC."""

    name: InterfaceName = Field(description="the virtual NIC")
    mode: Annotated[ModeName, BeforeValidator(_mode)] = Field(
        "active-backup", description="one member carries traffic, or all"
    )
    failback: Failback = Field(
        "never", description="whether a better member takes the traffic back from one that works"
    )
    failback_delay: Delay = Field(0, description="for how long it must have been fit to carry")
    preferred: InterfaceName | None = Field(
        None, description="the member that is preferred whatever the priorities say"
    )
    up_delay: Delay = Field(0, description="for how long a member stays back that returns")
    down_delay: Delay = Field(0, description="for how long a link is down before it has fallen")
    headroom: Headroom = Field(
        0.1, description="how much longer the active member's traffic may wait for others' work"
    )
    receive: Receive = Field("single", description="who receives unicast in balance-alb")
    verify: Sampling = Field(
        1000, description="sealed jobs that are opened again: sample:1/1000, all, off"
    )
    allow: list[RuleTable] = Field(
        default_factory=list, description="interfaces that may be members; any if left out"
    )
    deny: list[RuleTable] = Field(
        default_factory=list, description="interfaces that may not, whatever is allowed"
    )
    software: Software = Field(
        "overflow", description="when engines that cost host processor time work"
    )
    delivery: Delivery = Field("return", description="how sealed packets reach the wire")
    mac: Annotated[Literal["team", "member"] | None, BeforeValidator(_mac_of_what)] = Field(
        None, description="whose address carrying members send; the mode's own if left out"
    )
    hwaddr: Mac | None = Field(None, description="the team's own Ethernet address")
    mtu: int | None = Field(None, ge=MTU_MIN, le=MTU_MAX, description="computed if left out")
    address: Annotated[list[InterfaceAddress], BeforeValidator(_one_or_more)] = Field(
        default_factory=list, description="assigned to the virtual NIC"
    )
    route: list[RouteTable] = Field(default_factory=list, description="set over the virtual NIC")


class SettingsTable(Table):
    """What can be changed of a running team, as ``[team]`` has it."""

    mode: Annotated[ModeName | None, BeforeValidator(_mode)] = None
    failback: Failback | None = None
    failback_delay: Delay | None = None
    preferred: Literal[""] | InterfaceName | None = Field(
        None, description="the preferred member; empty: none"
    )
    up_delay: Delay | None = None
    down_delay: Delay | None = None
    headroom: Headroom | None = None
    receive: Receive | None = None
    verify: Sampling | None = None
    software: Software | None = None
    delivery: Delivery | None = None
    mac: Annotated[Literal["team", "member"] | None, BeforeValidator(_mac_of_what)] = None
    probe: ProbeTable | None = None


class EngineTable(Table):
    """An engine: processor cores, or a simulated NIC encryption processor."""

    name: ObjectName | None = Field(None, description="needed but in a member")
    kind: Literal["cpu", "asic"] = Field(description="asic is simulated")
    threads: int | None = Field(
        None, ge=0, le=256, description="cpu: threads of its own; 0 is the worker itself"
    )
    rate: Rate | None = Field(None, description="asic: bits per second")
    per_packet: Duration | None = Field(None, description="asic: time for each packet")
    latency: Duration | None = Field(None, description="asic: from the work to its completion")
    coalesce: Delay | None = Field(None, description="asic: completions are gathered for so long")
    queue: Duration | None = Field(None, description="asic: work taken ahead of time")
    queue_jobs: int | None = Field(
        None, ge=1, le=QUEUE_JOBS_MAX, description="asic: jobs in flight"
    )
    memory: Size | None = Field(None, description="asic: bytes in flight")
    sa_slots: int | None = Field(None, ge=1, le=1 << 24, description="asic: keys it holds")
    key_install: Duration | None = Field(None, description="asic: time to install a key")
    transfer: Duration | None = Field(
        None, description="asic: others' jobs on the way there and back"
    )
    transfer_rate: Rate | None = Field(None, description="asic: bits per second of that way")
    patience: Annotated[Duration, Field(le=PATIENCE_MAX_NS)] | None = Field(
        None, description="asic: so late at least is a job before it counts as hung"
    )
    esn: bool | None = Field(None, description="asic: takes extended sequence numbers")
    max_replay_window: int | None = Field(
        None,
        ge=REPLAY_WINDOW_MIN,
        le=REPLAY_WINDOW_MAX,
        description="asic: the largest replay window that it keeps",
    )
    algorithms: list[Literal["aes-128-gcm-16", "aes-256-gcm-16", "chacha20-poly1305"]] | None = (
        Field(None, min_length=1, description="asic: what it can do")
    )
    lookaside: bool | None = Field(None, description="asic: takes a job and gives it back")
    inline: bool | None = Field(None, description="asic: works on its own NIC's traffic")
    primary: bool | None = Field(None, description="asic: works for its own member")
    secondary: bool | None = Field(None, description="asic: works for others")

    @model_validator(mode="after")
    def _kind_fits(self) -> Self:
        foreign = _ASIC_KEYS if self.kind == "cpu" else ("threads",)
        for name in foreign:
            if getattr(self, name) is not None:
                other = "asic" if self.kind == "cpu" else "cpu"
                raise fault(f'{name} belongs to kind = "{other}"', "remove it, or change the kind")
        if self.lookaside is False and not self.inline:
            raise fault("takes no work at all", "set lookaside = true, inline = true, or both")
        if self.lookaside is False and self.secondary:
            raise fault(
                "cannot work for others with lookaside = false",
                "set lookaside = true, or remove secondary",
            )
        if self.primary is False and self.secondary is False:
            raise fault("works for nobody", "set primary = true, secondary = true, or both")
        return self


def _member_engine(value: object) -> object:
    if isinstance(value, dict) and value.get("kind") == "cpu":
        raise fault(
            "is no device of the member", 'write processor cores as [[engine]] kind = "cpu"'
        )
    return value


class MemberTable(Table):
    """An interface of the team."""

    interface: InterfaceName = Field(description="the interface")
    priority: int = Field(0, ge=-32768, le=32767, description="the higher, the more preferred")
    carry: bool = Field(True, description="false: encryption only, its wire is not used")
    weight: int = Field(1, ge=1, le=1000, description="share of the flows in balance-alb")
    foreign_mac: bool | None = Field(
        None, description="whether its wire takes another's source address; probed if left out"
    )
    engine: Annotated[EngineTable | None, BeforeValidator(_member_engine)] = Field(
        None, description="its own encryption processor"
    )


class SaTable(Table):
    """A static security association, for laboratories."""

    name: ObjectName = Field(description="its name here")
    direction: Direction = Field(description="out seals, in opens")
    spi: Spi = Field(description="from 256 on; a number or 0x text")
    src: Address = Field(description="outer source; inbound the peer's")
    dst: Address = Field(description="outer destination; inbound our own")
    mode: SaMode = Field("tunnel", description="a whole packet, or its payload")
    algorithm: Literal["aes-gcm-16"] = Field("aes-gcm-16", description="RFC 4106")
    key: KeyText | None = Field(None, description="hexadecimal, with the 4-byte salt at its end")
    key_file: str | None = Field(None, description="a file of mode 0600 with the key instead")
    esn: bool = Field(False, description="extended sequence numbers")
    replay_window: int = Field(
        REPLAY_WINDOW_DEFAULT,
        ge=REPLAY_WINDOW_MIN,
        le=REPLAY_WINDOW_MAX,
        description="inbound: numbers told apart",
    )
    encap: Literal["udp"] | None = Field(None, description="ESP inside UDP, port 4500")
    weight: int = Field(1, ge=1, le=SA_WEIGHT_MAX, description="share of a full engine")
    member: InterfaceName | None = Field(None, description="the member that carries it")
    policy: ObjectName | None = Field(None, description="the policy that it serves")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.src.version != self.dst.version:
            raise fault("src and dst are of different IP versions", "write both as one version")
        if self.src == self.dst:
            raise fault("src and dst are the same address", "dst is the peer, or inbound ourselves")
        if (self.key is None) == (self.key_file is None):
            raise fault("needs one of key and key_file", "write exactly one of them")
        return self


class PolicyTable(Table):
    """A line of the security policy database; they match in the order of the file."""

    name: ObjectName = Field(description="its name")
    action: Action = Field("protect", description="what happens to its packets")
    local: Network = Field(description="our side")
    remote: Network = Field(description="the peer's side")
    protocol: Protocol | None = Field(None, description="name or number; any if left out")
    local_port: Ports | None = Field(None, description="port or range")
    remote_port: Ports | None = Field(None, description="port or range")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.local.version != self.remote.version:
            raise fault(
                "local and remote are of different IP versions", "write one policy for each"
            )
        if self.local_port or self.remote_port:
            if self.protocol is None:
                raise fault("has ports but no protocol", 'add protocol = "tcp" or "udp"')
            if self.protocol not in WITH_PORTS:
                raise fault("names ports of a protocol without ports", "remove the ports")
        return self


class FileTable(Table):
    """A whole file."""

    team: TeamTable
    probe: ProbeTable = Field(default_factory=lambda: ProbeTable.model_validate({}))
    member: list[MemberTable] = Field(min_length=1)
    engine: list[EngineTable] = Field(default_factory=list)
    sa: list[SaTable] = Field(default_factory=list)
    policy: list[PolicyTable] = Field(default_factory=list)


#: Tables by their place in the file, for the names of keys.
PLACES: dict[tuple[str, ...], type[Table]] = {
    (): FileTable,
    ("team",): TeamTable,
    ("team", "route"): RouteTable,
    ("team", "allow"): RuleTable,
    ("team", "deny"): RuleTable,
    ("probe",): ProbeTable,
    ("settings",): SettingsTable,
    ("settings", "probe"): ProbeTable,
    ("member",): MemberTable,
    ("member", "engine"): EngineTable,
    ("engine",): EngineTable,
    ("sa",): SaTable,
    ("policy",): PolicyTable,
}

__all__ = [
    "PLACES",
    "EngineTable",
    "FileTable",
    "MemberTable",
    "PolicyTable",
    "ProbeTable",
    "RouteTable",
    "RuleTable",
    "SaTable",
    "SettingsTable",
    "Table",
    "TeamTable",
]

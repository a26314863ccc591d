"""The tables of a scenario file, as pydantic models. They do not leave this package."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Literal, get_type_hints

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter

from esprit.config.schema import EngineTable, Table
from esprit.config.values import Duration, InterfaceName, ObjectName, Rate, duration
from esprit.model.security import SA_WEIGHT_MAX
from esprit.model.spec import ProbeSpec
from esprit.model.state import TeamState
from esprit.sim.scenario import IMIX, MAX_MESSAGES, MAX_TASK, MIN_PACKET, FaultKind

#: What of a team's state a file may set; the rest is what a run makes of it.
SETTINGS = frozenset(f.name for f in fields(TeamState)) - {
    "id", "name", "members", "engines", "link_epoch", "active", "announcements", "plan", "now",
    "asks", "load", "verify_every",
}  # fmt: skip


_HINTS = get_type_hints(TeamState)


class ProbeTable(Table):
    """How members are probed."""

    every: Duration
    miss: int = Field(3, ge=1, le=64)
    of: int = Field(5, ge=1, le=64)
    hold: Duration = 1_000_000_000


def every(text: object) -> int:
    """Of how many sealed jobs one is checked, by the words of the configuration: 0 is none.

    Raises:
        ValueError: it is not written like that; the text has the remedy.
    """
    if text == "off":
        return 0
    if text == "all":
        return 1
    head, _, number = str(text).partition("sample:1/")
    if head or not number.isdecimal() or int(number) == 0:
        raise ValueError('is none; write "off", "all" or "sample:1/1000"')
    return int(number)


def setting(key: str, value: object) -> tuple[str, object]:
    """A key of a team's table as the model's field: times have their unit in the file.

    Raises:
        KeyError: the model knows no such field.
        ValueError: the value does not fit.
    """
    if key == "probe":
        probe = ProbeTable.model_validate(value)
        return key, ProbeSpec(
            every_ns=probe.every, miss=probe.miss, of=probe.of, hold_ns=probe.hold
        )
    if key == "verify":
        return "verify_every", every(value)
    if f"{key}_ns" in SETTINGS:
        return f"{key}_ns", duration(value)
    if key not in SETTINGS:
        raise KeyError(key)
    return key, TypeAdapter(_HINTS[key]).validate_python(value, strict=True)


def _sizes(value: object) -> object:
    if value == "imix":
        return [list(pair) for pair in IMIX]
    if isinstance(value, int) and not isinstance(value, bool):
        return [[value, 1]]
    return value


Size = Annotated[int, Field(ge=MIN_PACKET, le=9000)]
Sizes = Annotated[
    list[Annotated[list[int], Field(min_length=2, max_length=2)]], BeforeValidator(_sizes)
]


class MemberTable(Table):
    """A member."""

    interface: InterfaceName
    rate: Rate = 100_000_000_000
    mtu: int = Field(1600, ge=576, le=65521)
    ring: int = Field(256, ge=1, le=65536)
    up: bool = True
    joins: bool = False
    priority: int = Field(0, ge=-32768, le=32767)
    carry: bool = True
    weight: int = Field(1, ge=1, le=1000)
    foreign: bool = True
    engine: EngineTable | None = None
    count: int = Field(1, ge=1, le=1024)


def _weights(value: object) -> object:
    return [value] if isinstance(value, int) and not isinstance(value, bool) else value


Weight = Annotated[int, Field(ge=1, le=SA_WEIGHT_MAX)]
Weights = Annotated[list[Weight], Field(min_length=1), BeforeValidator(_weights)]


class SasTable(Table):
    """A team's SAs; ``weight`` is one for all, or a list that the policies take in turn."""

    policies: int = Field(1, ge=1, le=65536)
    bundle: bool = False
    cipher: Literal[128, 256] = 128
    mode: Literal["tunnel", "transport"] = "tunnel"
    esn: bool = True
    udp: bool = False
    replay_window: int = Field(2048, ge=64, le=8192)
    weight: Weights = Field(default_factory=lambda: [1])


class TeamTable(Table):
    """A team; what is not here is checked against the model."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True, hide_input_in_errors=True)

    name: InterfaceName
    member: list[MemberTable] = Field(min_length=1)
    sas: SasTable = Field(default_factory=lambda: SasTable.model_validate({}))
    verify: str | None = None
    count: int = Field(1, ge=1, le=256)


class TrafficTable(Table):
    """A source of packets."""

    name: ObjectName
    team: InterfaceName | None = None
    direction: Literal["out", "in"] = "out"
    pattern: Literal["constant", "poisson", "on-off", "pcap"] = "constant"
    rate: Rate | None = None
    load: float | None = Field(None, gt=0, le=100)
    on: Duration | None = None
    off: Duration | None = None
    size: Sizes | None = None
    pcap: str | None = None
    flows: int = Field(16, ge=1, le=1 << 20)
    plain: bool = False
    via: list[InterfaceName] = Field(default_factory=list)
    asks: bool = False
    start: Duration = 0
    stop: Duration | None = None
    burst: int = Field(1, ge=1, le=1024)


class ApplicationTable(Table):
    """A program that has the pool seal or open."""

    name: ObjectName
    direction: Literal["seal", "open"] = "seal"
    rate: Rate | None = None
    size: int = Field(1400, ge=1, le=MAX_TASK)
    packets: int | None = Field(None, ge=1, le=MAX_MESSAGES)
    window: int = Field(64, ge=1, le=4096)
    cipher: Literal[128, 256] = 128
    start: Duration = 0
    stop: Duration | None = None


class FaultTable(Table):
    """Something that happens."""

    at: Duration
    kind: FaultKind
    member: InterfaceName | None = None
    engine: ObjectName | None = None
    team: InterfaceName | None = None
    by: InterfaceName | None = None
    value: int = Field(0, ge=0)
    word: str = ""
    settings: dict[str, object] = Field(default_factory=dict)


class EngineTables(EngineTable):
    """An engine that belongs to no member; ``count`` of them are numbered behind the name."""

    joins: bool = False
    count: int = Field(1, ge=1, le=256)


class FileTable(Table):
    """A whole file."""

    name: ObjectName
    about: str = ""
    seed: int = Field(1, ge=0, lt=1 << 63)
    duration: Duration = 20_000_000
    warmup: Duration = 0
    control_latency: Duration = 1_000_000
    turn: Duration = 2_000
    readmit: Duration | None = None
    measure: Duration = Field(1_000_000_000, gt=0)
    announce: bool = False
    job_rows: int = Field(200_000, ge=0, le=1 << 24)
    team: list[TeamTable] = Field(min_length=1)
    engine: list[EngineTables] = Field(default_factory=list)
    traffic: list[TrafficTable] = Field(default_factory=list)
    application: list[ApplicationTable] = Field(default_factory=list)
    fault: list[FaultTable] = Field(default_factory=list)
    expect: list[str] = Field(default_factory=list)

"""Reading a scenario: TOML in, frozen values out, one line for each fault."""

from __future__ import annotations

import struct
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from esprit.config import build
from esprit.config.problems import Problem, problems
from esprit.errors import ConfigInvalid, ConfigSyntax, ConfigUnreadable
from esprit.sim import expect
from esprit.sim.scenario import (
    IMIX,
    MIN_PACKET,
    OVERHEAD,
    Application,
    Fault,
    Member,
    Sas,
    Scenario,
    Team,
    Traffic,
)
from esprit.sim.schema import (
    SETTINGS,
    ApplicationTable,
    FaultTable,
    FileTable,
    MemberTable,
    SasTable,
    TeamTable,
    TrafficTable,
    every,
    setting,
)

#: Faults by what they happen to.
OF_MEMBERS: Final = (
    "link-down", "link-up", "vanish", "deaf", "hear", "add", "remove", "replace",
)  # fmt: skip
OF_TEAMS: Final = ("mode", "software", "set")
OF_BOTH: Final = ("add", "remove")

#: Formats of pcap by their first word, in our byte order: nanoseconds of one unit of a fraction.
PCAP: Final = {0xA1B2C3D4: 1000, 0xA1B23C4D: 1}


def shipped() -> tuple[Path, ...]:
    """The scenarios that come with the package."""
    folder = Path(str(resources.files("esprit.sim") / "scenarios"))
    return tuple(sorted(folder.glob("*.toml")))


def find(name: str | Path) -> Path:
    """A file of that path or, where there is none, the shipped scenario of that name."""
    path = Path(name)
    if path.exists():
        return path
    by_name = {file.stem: file for file in shipped()}
    found = by_name.get(path.name.removesuffix(".toml"))
    if found is not None:
        return found
    raise ConfigUnreadable(
        str(name),
        "is neither a file nor a scenario that is shipped",
        remedy=f"shipped are {', '.join(by_name) or 'none'}",
    )


def load(name: str | Path) -> Scenario:
    """Read a file, or the shipped scenario of that name.

    Raises:
        ConfigUnreadable: it is not there.
        ConfigSyntax: it is no TOML.
        ConfigInvalid: keys or values are wrong; all faults at once.
    """
    path = find(name)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigUnreadable(str(path), f"cannot be read: {error}") from error
    return read(text, source=str(path), folder=path.parent)


def read(text: str, *, source: str = "scenario", folder: Path | None = None) -> Scenario:
    """Check the text of a file; relative paths of captures begin at ``folder``.

    Raises:
        ConfigSyntax, ConfigInvalid: as :func:`load`.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigSyntax(source, f"is no TOML: {error}") from None
    team = data.get("team")
    if isinstance(team, dict):
        data["team"] = [team]
    try:
        table = FileTable.model_validate(data)
    except ValidationError as error:
        found = problems(source, error, data)
        raise ConfigInvalid(source, lines=tuple(str(one) for one in found)) from None
    faults = list(_faults(table, source))
    if faults:
        raise ConfigInvalid(source, lines=tuple(map(str, faults)))
    return _scenario(table, source, folder or Path())


def _faults(table: FileTable, source: str) -> Iterator[Problem]:
    def problem(where: str, text: str) -> Problem:
        return Problem(source=source, where=where, text=text)

    for team in table.team:
        where = f"team {team.name}"
        yield from _settings_faults(team.model_extra or {}, where, problem)
        if team.verify is not None:
            yield from _settings_faults({"verify": team.verify}, where, problem)
    teams = [name for team in table.team for name in _numbered(team.name, team.count)]
    members = {
        name: own
        for team in table.team
        for own in _numbered(team.name, team.count)
        for member in team.member
        for name in _member_names(team, own, member)
    }
    engines = {f"{name}-asic" for name in members} | {
        name for one in table.engine for name in _numbered(one.name or "", one.count)
    }
    engines |= {m.engine.name for t in table.team for m in t.member if m.engine and m.engine.name}
    for one in table.engine:
        if not one.name:
            yield problem("engine: name", "is missing; add it")
    mtu = min(member.mtu for team in table.team for member in team.member)
    if not (table.traffic or table.application):
        yield problem("traffic", "is missing, and so is application; add one of them")
    for traffic in table.traffic:
        yield from _traffic_faults(traffic, teams, set(members), mtu, problem)
    for fault in table.fault:
        yield from _happening_faults(fault, teams, members, engines, problem)
    for line in table.expect:
        try:
            expect.parse(line)
        except ValueError as error:
            yield problem(f"expect {line!r}", str(error))


def _settings_faults(
    settings: Mapping[str, object], where: str, problem: Callable[[str, str], Problem]
) -> Iterator[Problem]:
    for key, value in sorted(settings.items()):
        known = ", ".join(sorted(name.removesuffix("_ns") for name in SETTINGS))
        try:
            setting(key, value)
        except KeyError:
            yield problem(f"{where}: {key}", f"is not known here; known are {known}")
        except ValueError as error:
            text = str(error).partition("\n")[0]
            yield problem(f"{where}: {key}", f"does not fit ({text}); correct it")


def _happening_faults(
    fault: FaultTable,
    teams: list[str],
    members: Mapping[str, str],
    engines: set[str],
    problem: Callable[[str, str], Problem],
) -> Iterator[Problem]:
    where = f"fault {fault.kind} at {fault.at} ns"
    of_engine = fault.kind in OF_BOTH and fault.engine is not None
    if fault.kind in OF_TEAMS:
        if (fault.team or teams[0]) not in teams:
            yield problem(f"{where}: team", f"is none of the teams; write {', '.join(teams)}")
        yield from _settings_faults(fault.settings, where, problem)
    elif fault.kind in OF_MEMBERS and not of_engine:
        own = members.get(fault.member or "")
        others = {name for name, team in members.items() if team == own} - {fault.member}
        if own is None:
            yield problem(f"{where}: member", "is none of the members; name one by its interface")
        elif fault.kind == "replace" and fault.by not in others:
            yield problem(f"{where}: by", "is no other member of the team; name one that joins")
    elif fault.engine not in engines:
        yield problem(f"{where}: engine", "is none of the engines; name one")


def _traffic_faults(
    traffic: TrafficTable,
    teams: list[str],
    members: set[str],
    mtu: int,
    problem: Callable[[str, str], Problem],
) -> Iterator[Problem]:
    where = f"traffic {traffic.name}"
    if traffic.team is None and len(teams) > 1:
        yield problem(f"{where}: team", f"is missing; write one of {', '.join(teams[:8])}")
    elif traffic.team is not None and traffic.team not in teams:
        yield problem(f"{where}: team", f"is none; write one of {', '.join(teams[:8])}")
    if traffic.pattern == "pcap":
        if traffic.pcap is None:
            yield problem(f"{where}: pcap", "is missing; name the capture")
    elif (traffic.rate is None) == (traffic.load is None):
        yield problem(f"{where}: rate", "write one of rate and load")
    if traffic.pattern == "on-off" and not (traffic.on and traffic.off):
        yield problem(f"{where}: on", "write both on and off, above zero")
    for size, weight in traffic.size or []:
        if size < MIN_PACKET or size > mtu - OVERHEAD:
            yield problem(
                f"{where}: size",
                f"{size} is no size here; write {MIN_PACKET} to {mtu - OVERHEAD}, "
                "the members' mtu less what ESP adds",
            )
        if weight < 1:
            yield problem(f"{where}: size", "has a weight below 1; write pairs of size and weight")
    if traffic.asks and traffic.direction == "out":
        yield problem(f"{where}: asks", 'is of peers that send; add direction = "in"')
    for name in traffic.via:
        if name not in members:
            yield problem(f"{where}: via", f"{name} is no member; name members by their interfaces")


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}{number}" for number in range(count)]


def _member_names(team: TeamTable, own: str, member: MemberTable) -> list[str]:
    """Members of a team that stands for many bear its name, for an interface has one team."""
    base = member.interface if team.count == 1 else f"{own}-{member.interface}"
    return _numbered(base, member.count)


def _scenario(table: FileTable, source: str, folder: Path) -> Scenario:
    teams = tuple(
        Team(
            name=name,
            members=tuple(_members(team, name)),
            settings=dict(setting(key, value) for key, value in (team.model_extra or {}).items()),
            sas=_sas(team.sas),
            verify_every=None if team.verify is None else every(team.verify),
        )
        for team in table.team
        for name in _numbered(team.name, team.count)
    )
    return Scenario(
        name=table.name,
        about=table.about,
        source=source,
        seed=table.seed,
        duration=table.duration,
        warmup=table.warmup,
        control_ns=table.control_latency,
        turn_ns=table.turn,
        readmit_ns=table.readmit,
        measure_ns=table.measure,
        announce=table.announce,
        job_rows=table.job_rows,
        teams=teams,
        engines=tuple(
            replace(build.engine(one), name=name)
            for one in table.engine
            for name in _numbered(one.name or "", one.count)
        ),
        joining=frozenset(
            name
            for one in table.engine
            if one.joins
            for name in _numbered(one.name or "", one.count)
        ),
        traffic=tuple(_traffic(one, teams[0].name, folder, source) for one in table.traffic),
        applications=tuple(_application(one) for one in table.application),
        faults=tuple(_fault(one, teams[0].name) for one in table.fault),
        expect=tuple(table.expect),
    )


def _sas(table: SasTable) -> Sas:
    found = dict(table)
    weights = tuple(found.pop("weight"))
    return Sas(**found, weights=weights)


def _members(team: TeamTable, own: str) -> Iterator[Member]:
    for table in team.member:
        for name in _member_names(team, own, table):
            yield Member(
                interface=name,
                rate_bps=table.rate,
                mtu=table.mtu,
                ring=table.ring,
                up=table.up,
                joins=table.joins,
                priority=table.priority,
                carry=table.carry,
                weight=table.weight,
                foreign=table.foreign,
                engine=(
                    None
                    if table.engine is None
                    else build.engine(table.engine, name=f"{name}-{table.engine.kind}")
                ),
            )


def _traffic(table: TrafficTable, team: str, folder: Path, source: str) -> Traffic:
    packets: tuple[tuple[int, int], ...] = ()
    if table.pattern == "pcap":
        packets = _recorded(folder / (table.pcap or ""), source)
    return Traffic(
        name=table.name,
        team=table.team or team,
        direction=table.direction,
        pattern=table.pattern,
        rate_bps=table.rate or 0,
        load=table.load,
        on_ns=table.on or 0,
        off_ns=table.off or 0,
        sizes=tuple((size, weight) for size, weight in table.size or [[1400, 1]]),
        packets=packets,
        flows=table.flows,
        plain=table.plain,
        via=tuple(table.via),
        asks=table.asks,
        start_ns=table.start,
        stop_ns=table.stop,
        burst=table.burst,
    )


def _application(table: ApplicationTable) -> Application:
    return Application(
        name=table.name,
        direction=table.direction,
        rate_bps=table.rate,
        size=table.size,
        packets=table.packets,
        window=table.window,
        cipher=table.cipher,
        start_ns=table.start,
        stop_ns=table.stop,
    )


def _fault(table: FaultTable, team: str) -> Fault:
    return Fault(
        at=table.at,
        kind=table.kind,
        member=table.member,
        engine=table.engine,
        team=table.team or team,
        by=table.by,
        value=table.value,
        word=table.word,
        settings=dict(setting(key, value) for key, value in table.settings.items()),
    )


def _recorded(path: Path, source: str) -> tuple[tuple[int, int], ...]:
    """Times and lengths of the IP packets of a capture; what they hold is made anew."""
    try:
        data = path.read_bytes()
        return tuple(records(data))
    except OSError as error:
        raise ConfigUnreadable(str(path), f"cannot be read: {error.strerror}") from None
    except (ValueError, struct.error) as error:
        line = f"{source}: pcap: {path} is no capture that can be read ({error}); "
        raise ConfigInvalid(
            source, lines=(line + "write one by tcpdump -w, of Ethernet frames",)
        ) from None


def records(data: bytes) -> Iterator[tuple[int, int]]:
    """Times in nanoseconds from the first, and lengths, of a capture's IP packets.

    Raises:
        ValueError, struct.error: it is no capture of Ethernet frames.
    """
    order = next((o for o in "<>" if struct.unpack_from(o + "I", data)[0] in PCAP), None)
    if order is None:
        raise ValueError("its first word is not pcap's")
    magic, *_, link = struct.unpack_from(order + "IHHiIII", data)
    if link & 0xFFFF != 1:
        raise ValueError("it is not of Ethernet")
    at, first = 24, None
    longest = max(size for size, _ in IMIX)
    while at + 16 <= len(data):
        seconds, fraction, held, length = struct.unpack_from(order + "IIII", data, at)
        at += 16 + held
        time = seconds * 1_000_000_000 + fraction * PCAP[magic]
        first = time if first is None else first
        # Super-frames of a capture become packets of the longest kind.
        yield max(time - first, 0), min(max(length - 14, MIN_PACKET), longest)


def from_mapping(data: Mapping[str, object], *, source: str = "scenario") -> Scenario:
    """A scenario from plain tables, as :func:`read` has them from TOML.

    Raises:
        ConfigInvalid: as :func:`load`.
    """
    try:
        table = FileTable.model_validate(data)
    except ValidationError as error:
        found = problems(source, error, data)
        raise ConfigInvalid(source, lines=tuple(str(one) for one in found)) from None
    return _scenario(table, source, Path())

"""From tables to the model."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from types import MappingProxyType

from esprit.config.schema import (
    EngineTable,
    FileTable,
    MemberTable,
    PolicyTable,
    ProbeTable,
    RouteTable,
    RuleTable,
    SaTable,
    SettingsTable,
    TeamTable,
)
from esprit.model.event import SettingsChanged
from esprit.model.key import Key
from esprit.model.security import Policy, SecurityAssociation, UdpEncap
from esprit.model.spec import (
    ALGORITHMS,
    EngineSpec,
    MemberSpec,
    ProbeSpec,
    RouteSpec,
    TeamConfig,
    TeamSpec,
)


def team(table: TeamTable, asked: ProbeTable) -> TeamSpec:
    """The team that its table and that of its probing describe."""
    return TeamSpec(
        name=table.name,
        mode=table.mode,
        failback=table.failback,
        failback_delay_ns=table.failback_delay,
        preferred=table.preferred,
        up_delay_ns=table.up_delay,
        down_delay_ns=table.down_delay,
        headroom=table.headroom,
        receive=table.receive,
        verify_every=table.verify,
        probe=probe(asked),
        allow=tuple(_rule(rule) for rule in table.allow),
        deny=tuple(_rule(rule) for rule in table.deny),
        software=table.software,
        delivery=table.delivery,
        source_mac=table.mac,
        mac=table.hwaddr,
        mtu=table.mtu,
        addresses=tuple(table.address),
        routes=tuple(_route(route) for route in table.route),
    )


def probe(table: ProbeTable) -> ProbeSpec:
    """How members are probed."""
    return ProbeSpec(
        every_ns=table.every if table.enabled else 0,
        miss=table.miss,
        of=table.of,
        hold_ns=table.hold,
        targets=tuple(table.target),
    )


def settings(table: SettingsTable) -> SettingsChanged:
    """What changes of a running team."""
    return SettingsChanged(
        mode=table.mode,
        software=table.software,
        failback=table.failback,
        failback_delay_ns=table.failback_delay,
        preferred=table.preferred,
        up_delay_ns=table.up_delay,
        down_delay_ns=table.down_delay,
        headroom=table.headroom,
        receive=table.receive,
        verify_every=table.verify,
        probe=None if table.probe is None else probe(table.probe),
        delivery=table.delivery,
        source_mac=table.mac,
    )


def _rule(table: RuleTable) -> Mapping[str, str]:
    """A rule as the inventory reads it: patterns by field."""
    return MappingProxyType(table.model_dump(exclude_none=True))


def _route(table: RouteTable) -> RouteSpec:
    to = table.to
    if to is None:
        six = table.via is not None and table.via.version == 6
        to = ip_network("::/0" if six else "0.0.0.0/0")
    return RouteSpec(to=to, via=table.via, src=table.src)


def member(table: MemberTable) -> MemberSpec:
    """The member that a table describes, with its engine."""
    return MemberSpec(
        interface=table.interface,
        priority=table.priority,
        carry=table.carry,
        weight=table.weight,
        foreign_mac=table.foreign_mac,
        engine=None if table.engine is None else own_engine(table.engine, table.interface),
    )


def own_engine(table: EngineTable, interface: str) -> EngineSpec:
    """A member's own engine, which may leave out its name."""
    return engine(table, name=f"{interface}-{table.kind}")


def engine(table: EngineTable, *, name: str = "") -> EngineSpec:
    """The engine that a table describes; ``name`` stands for one that has none."""
    lookaside = table.lookaside is not False
    return EngineSpec(
        name=table.name or name,
        kind=table.kind,
        threads=1 if table.threads is None else table.threads,
        rate_bps=table.rate,
        ns_per_packet=table.per_packet,
        latency_ns=table.latency,
        coalesce_ns=table.coalesce,
        queue_ns=table.queue,
        queue_jobs=table.queue_jobs,
        memory=table.memory,
        sa_slots=table.sa_slots,
        key_install_ns=table.key_install,
        transfer_ns=table.transfer,
        transfer_bps=table.transfer_rate,
        patience_ns=table.patience,
        esn=table.esn is not False,
        max_replay_window=table.max_replay_window,
        algorithms=ALGORITHMS if table.algorithms is None else tuple(table.algorithms),
        lookaside=lookaside,
        inline=bool(table.inline),
        primary=table.primary is not False,
        secondary=lookaside if table.secondary is None else table.secondary,
    )


def sa(table: SaTable, key: Key) -> SecurityAssociation:
    """The SA that a table describes, with its key from there or from its file."""
    return SecurityAssociation(
        name=table.name,
        direction=table.direction,
        spi=table.spi,
        src=table.src,
        dst=table.dst,
        key=key,
        mode=table.mode,
        algorithm=table.algorithm,
        esn=table.esn,
        replay_window=table.replay_window,
        encap=UdpEncap() if table.encap == "udp" else None,
        weight=table.weight,
        member=table.member,
        policy=table.policy,
    )


def policy(table: PolicyTable) -> Policy:
    """The policy that a table describes."""
    return Policy(
        name=table.name,
        action=table.action,
        local=table.local,
        remote=table.remote,
        protocol=table.protocol,
        local_port=table.local_port,
        remote_port=table.remote_port,
    )


def config(table: FileTable, *, source: str, keys: tuple[Key, ...]) -> TeamConfig:
    """All that a file says; ``keys`` are those of its SAs, in their order."""
    return TeamConfig(
        source=source,
        team=team(table.team, table.probe),
        members=tuple(member(found) for found in table.member),
        engines=tuple(engine(found) for found in table.engine),
        sas=tuple(sa(found, key) for found, key in zip(table.sa, keys, strict=True)),
        policies=tuple(policy(found) for found in table.policy),
    )

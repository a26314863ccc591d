"""What the team offers as one NIC, and who provides it: the list that ``ethtool -k`` would give.

Members are unlike; the list is not. A feature is on only if the team gives it whichever member
carries the traffic, because somebody backs up those that lack it. Each provider says how far it
got: what it advertises, whether the team accepts it for that use, and whether a test proved it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from esprit.model.plan import Grant, Plan
from esprit.model.spec import ALGORITHMS
from esprit.model.state import EngineState, TeamState

#: How a member may have a feature: by any of these sets of its own ones, each as a whole.
Ways = tuple[tuple[str, ...], ...]

#: The virtual NIC's offloads: the data plane's short name, the one of ``ethtool -k``, and how a
#: member has it. The kernel has one name for UDP segmentation over both versions of IP.
OFFLOADS: Final[tuple[tuple[str, str, Ways], ...]] = (
    (
        "csum",
        "tx-checksum-ip-generic",
        (("tx-checksum-ip-generic",), ("tx-checksum-ipv4", "tx-checksum-ipv6")),
    ),
    ("tso4", "tx-tcp-segmentation", (("tx-tcp-segmentation",),)),
    ("tso6", "tx-tcp6-segmentation", (("tx-tcp6-segmentation",),)),
    ("tso-ecn", "tx-tcp-ecn-segmentation", (("tx-tcp-ecn-segmentation",),)),
    ("uso4", "tx-udp-segmentation", (("tx-udp-segmentation",),)),
    ("uso6", "tx-udp6-segmentation", (("tx-udp-segmentation",),)),
)

#: What the data plane does for the host on reception, and how a member does it.
RECEPTION: Final[tuple[tuple[str, Ways, str], ...]] = (
    (
        "rx-checksum",
        (("rx-checksum",),),
        "of TCP, and of plain traffic whose member checks it; a TAP device announces no such thing",
    ),
    ("generic-receive-offload", (("rx-gro",),), ""),
)

#: ESP in a NIC's own hardware, as the kernel's XFRM uses it.
HW_ESP: Final = ("esp-hw-offload", "esp-tx-csum-hw-offload", "tx-esp-segmentation")

#: Ciphers of ESP, as engines call them.
CIPHERS: Final = ALGORITHMS

NO_HW_OFFLOAD: Final = "Linux lets no TAP device announce it; SAs and policies are given to Esprit"
_NOT_USED: Final = "a member's own is for the kernel's XFRM, and the team leaves it unused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """How far one feature of an interface got.

    Attributes:
        advertised: The driver says that it can.
        accepted: The driver has it switched on.
        verified: A test proved it, or refuted it; None where none was made.
    """

    advertised: bool
    accepted: bool
    verified: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Who gives a feature.

    Attributes:
        advertised: It says that it can.
        accepted: The team uses it for that; a Plan grants it, or a setting allows it.
        verified: A test proved it; None where no test is made.
    """

    kind: Literal["member", "engine", "host"]
    name: str
    advertised: bool = True
    accepted: bool = True
    verified: bool | None = None

    @property
    def gives(self) -> bool:
        """Whether the feature really comes from here."""
        return self.advertised and self.accepted and self.verified is not False

    def __str__(self) -> str:
        return self.name if self.gives else f"({self.name})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """A line of the list.

    Attributes:
        fixed: No setting of the team changes it.
        reason: Why it is off, or what it does not cover; empty if there is nothing to say.
    """

    name: str
    on: bool
    fixed: bool = False
    providers: tuple[Provider, ...] = ()
    reason: str = ""

    @property
    def value(self) -> str:
        """As ``ethtool -k`` has it, but for its ``[fixed]``."""
        return "on" if self.on else "off"


def features(
    state: TeamState,
    *,
    offloads: Iterable[str] = (),
    members: Mapping[int, Mapping[str, Column]] | None = None,
) -> tuple[Feature, ...]:
    """The homogeneous feature set of a team.

    Args:
        state: The team, with its last Plan.
        offloads: What the virtual NIC took, by the data plane's short names.
        members: By member: what its driver has and does. A member that lacks one of these features
            is backed up by the data plane.
    """
    return (
        *_offloads(state, frozenset(offloads), members or {}),
        *_hardware_esp(state, members or {}),
        *_esp(state),
        *_members(state),
        *_uses(state),
    )


def _offloads(
    state: TeamState, offloads: frozenset[str], members: Mapping[int, Mapping[str, Column]]
) -> Iterator[Feature]:
    for short, name, ways in OFFLOADS:
        on = short in offloads
        yield Feature(
            name=name,
            on=on,
            fixed=True,
            providers=(
                Provider(kind="host", name="data plane", accepted=on),
                *_having(state, members, ways, used=on),
            ),
            reason="" if on else "this kernel's TAP device has no such offload",
        )
    for name, ways, reason in RECEPTION:
        yield Feature(
            name=name,
            on=True,
            fixed=True,
            providers=(
                Provider(kind="host", name="data plane"),
                *_having(state, members, ways, used=True),
            ),
            reason=reason,
        )


def _having(
    state: TeamState, members: Mapping[int, Mapping[str, Column]], ways: Ways, *, used: bool
) -> Iterator[Provider]:
    """The members whose drivers advertise a feature, be it off.

    Args:
        state: The team.
        members: What is known of their features.
        ways: How a member has it.
        used: Whether the team makes use of it.
    """
    for member in state.members:
        known = members.get(member.id, {})
        have = [[known[name] for name in way] for way in ways if set(way) <= set(known)]
        if any(all(one.advertised for one in way) for way in have):
            on = any(all(one.accepted for one in way) for way in have)
            yield Provider(
                kind="member",
                name=member.interface,
                accepted=used and on and member.can_carry,
            )


def _hardware_esp(
    state: TeamState, members: Mapping[int, Mapping[str, Column]]
) -> Iterator[Feature]:
    for name in HW_ESP:
        able = tuple(_having(state, members, ((name,),), used=False))
        yield Feature(
            name=name,
            on=False,
            fixed=True,
            providers=able,
            reason=f"{NO_HW_OFFLOAD}; {_NOT_USED}" if able else NO_HW_OFFLOAD,
        )


def _esp(state: TeamState) -> Iterator[Feature]:
    plan = state.plan
    carrying = sorted(plan.carriers) if plan is not None else []
    grants = {grant.engine: grant for grant in plan.grants} if plan is not None else {}
    any_on = False
    for cipher in CIPHERS:
        able = [e for e in state.engines if cipher in e.capabilities.algorithms]
        lacking = [
            member.interface
            for member in state.members
            if member.id in carrying and not _masked(plan, member.id, cipher)
        ]
        on = bool(carrying) and not lacking
        any_on = any_on or on
        yield Feature(
            name=f"esp-{cipher}",
            on=on,
            providers=tuple(_provider(engine, grants, cipher) for engine in able),
            reason=_why_off(state, plan, able, lacking),
        )
    for name in ("esp-tunnel-mode", "esp-transport-mode", "esp-udp-encapsulation"):
        yield Feature(
            name=name,
            on=any_on,
            providers=(Provider(kind="host", name="data plane"),),
            reason="" if any_on else "no cipher is on",
        )
    esn = [engine for engine in state.engines if engine.capabilities.esn]
    lacking = [
        m.interface for m in state.members if m.id in carrying and not _served(m.id, esn, grants)
    ]
    on = any_on and not lacking
    yield Feature(
        name="esp-extended-sequence-numbers",
        on=on,
        providers=tuple(_provider(engine, grants) for engine in esn),
        reason="" if on else _why_off(state, plan, esn, lacking) or "no cipher is on",
    )


def _members(state: TeamState) -> Iterator[Feature]:
    """A line for each member: who encrypts for it, so that it looks like the others."""
    plan = state.plan
    grants = {grant.engine: grant for grant in plan.grants} if plan is not None else {}
    for member in state.members:
        own = [
            engine
            for engine in state.engines
            if engine.id in grants
            and grants[engine.id].member == member.id
            and grants[engine.id].primary is not None
        ]
        shared = [
            engine
            for engine in state.engines
            if engine.id in grants and grants[engine.id].secondary is not None
        ]
        on = plan is not None and member.can_carry and plan.protects(member.id)
        if not member.can_carry:
            reason = "it does not carry traffic"
        elif own:
            reason = ""
        else:
            reason = "backed up by the team" if on else "nobody backs it up"
        yield Feature(
            name=f"esp-on-{member.interface}",
            on=on,
            providers=tuple(_provider(engine, grants) for engine in own or shared) if on else (),
            reason=reason,
        )


def _served(member: int, engines: Sequence[EngineState], grants: Mapping[int, Grant]) -> bool:
    """Whether these engines both seal and open for a member."""
    found = [grants[engine.id] for engine in engines if engine.id in grants]
    usable = [
        grant
        for grant in found
        if grant.secondary is not None or (grant.primary is not None and grant.member == member)
    ]
    return any(grant.seal for grant in usable) and any(grant.open for grant in usable)


def _masked(plan: Plan | None, member: int, cipher: str) -> bool:
    """Whether the transmission mask serves a member with a cipher, both ways."""
    mask = None if plan is None else plan.mask
    if mask is None:
        return False
    return all(
        any(line.algorithm == cipher and member in (*line.own, *line.backed) for line in lines)
        for lines in (mask.seal, mask.open)
    )


def _provider(
    engine: EngineState, grants: Mapping[int, Grant], cipher: str | None = None
) -> Provider:
    proved = cipher is None or engine.does(cipher, "seal") or engine.does(cipher, "open")
    return Provider(
        kind="engine",
        name=engine.name,
        accepted=engine.id in grants,
        verified=engine.verified and proved,
    )


def _why_off(
    state: TeamState, plan: Plan | None, able: Sequence[EngineState], lacking: Sequence[str]
) -> str:
    if plan is None or not plan.carriers:
        return "no member carries traffic"
    if not able:
        return "no engine has it"
    if not any(engine.verified for engine in able):
        return "IPsec is withdrawn: no engine that has it passed its test"
    if lacking:
        return f"no engine gives it to {', '.join(lacking)}"
    return ""


def _uses(state: TeamState) -> Iterator[Feature]:
    plan = state.plan
    grants = {grant.engine: grant for grant in plan.grants} if plan is not None else {}
    givers = tuple(
        Provider(
            kind="engine",
            name=engine.name,
            accepted=engine.id in grants and grants[engine.id].secondary is not None,
            verified=engine.verified,
        )
        for engine in state.engines
        if engine.capabilities.secondary and engine.capabilities.lookaside
    )
    sharing = plan is not None and plan.sharing
    spreading = plan is not None and plan.spreading
    yield Feature(
        name="secondary-use-sharing",
        on=sharing,
        providers=givers,
        reason="" if sharing else "needs one verified engine that works for others",
    )
    yield Feature(
        name="secondary-use-spreading",
        on=spreading,
        providers=givers,
        reason="" if spreading else "needs two verified engines that work for others",
    )
    direct = plan.direct if plan is not None else ()
    yield Feature(
        name="direct-delivery",
        on=bool(direct),
        providers=tuple(
            Provider(
                kind="member",
                name=member.interface,
                accepted=member.id in direct,
                verified=member.foreign,
            )
            for member in state.members
        ),
        reason="" if direct else _why_returned(state),
    )


def _why_returned(state: TeamState) -> str:
    if state.delivery == "return":
        return 'delivery = "return"'
    if any(member.sends_foreign for member in state.members):
        return "no member that can send another's address carries traffic"
    if all(member.sends_foreign is None for member in state.members):
        return "whether members can send another's address has not been tried yet"
    return "no member can send another's address"

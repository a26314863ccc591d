"""What no table can say of itself: names, SPIs, keys and engines across tables and files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from esprit.config.problems import Problem
from esprit.model.security import Policy, SecurityAssociation
from esprit.model.spec import EngineSpec, MemberSpec, TeamConfig


def within(config: TeamConfig) -> Iterator[Problem]:
    """The faults of one file."""
    for where, text in (
        *_names(config),
        *_members(config),
        *_associations(config),
        *_bundles(config),
        *_transport(config),
        *_engines(config),
    ):
        yield Problem(source=config.source, where=where, text=text)


def between(configs: Sequence[TeamConfig]) -> Iterator[Problem]:
    """The faults of files against one another, each told for the later file."""
    for at, config in enumerate(configs):
        for earlier in configs[:at]:
            for where, text in _overlap(earlier, config):
                yield Problem(source=config.source, where=where, text=text)


Fault = tuple[str, str]


def _twice(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _names(config: TeamConfig) -> Iterator[Fault]:
    for name in _twice(member.interface for member in config.members):
        yield f"member {name}", "is there twice; remove one of the two"
    for name in _twice(engine.name for engine, _ in config.all_engines() if engine.name):
        yield f"engine {name}", "is there twice; give each engine a name of its own"
    for number, engine in enumerate(config.engines, 1):
        if not engine.name:
            yield f"engine {number}: name", "is missing; add it"
    for name in _twice(sa.name for sa in config.sas):
        yield f"sa {name}", "is there twice; give each security association a name of its own"
    for name in _twice(policy.name for policy in config.policies):
        yield f"policy {name}", "is there twice; give each policy a name of its own"


def _members(config: TeamConfig) -> Iterator[Fault]:
    if any(member.interface == config.team.name for member in config.members):
        yield "team.name", f"{config.team.name} is a member too; choose another name for the team"
    interfaces = {member.interface for member in config.members}
    if config.team.preferred is not None and config.team.preferred not in interfaces:
        yield (
            "team.preferred",
            f"{config.team.preferred} is no member; {_name_one(interfaces)}",
        )
    if not any(member.carry for member in config.members):
        yield "member", "no member may carry traffic; remove carry = false from one"
    for engine in config.engines:
        if engine.name and not engine.lookaside:
            yield (
                f"engine {engine.name}",
                "has no interface whose traffic could pass through it;"
                " set lookaside = true, or write it in its [[member]]",
            )


def _associations(config: TeamConfig) -> Iterator[Fault]:
    interfaces = {member.interface for member in config.members}
    policies = {policy.name: policy for policy in config.policies}
    protecting = [policy for policy in config.policies if policy.action == "protect"]
    for one, other in _pairs(config.sas):
        yield from _same(one, other, "")
    for sa in config.sas:
        if sa.member is not None and sa.member not in interfaces:
            yield f"sa {sa.name}: member", f"{sa.member} is no member; {_name_one(interfaces)}"
        if sa.policy is None:
            if not protecting:
                yield f"sa {sa.name}", "serves no policy; add a [[policy]] that protects"
        elif sa.policy not in policies:
            yield f"sa {sa.name}: policy", f"{sa.policy} does not exist; {_name_one(policies)}"
        elif policies[sa.policy].action != "protect":
            yield f"sa {sa.name}: policy", f"{sa.policy} does not protect; name one that does"


def _name_one(names: Iterable[str]) -> str:
    listed = ", ".join(sorted(names))
    return f"name one of {listed}" if listed else "there is none to name"


def _pairs(
    sas: Sequence[SecurityAssociation],
) -> Iterator[tuple[SecurityAssociation, SecurityAssociation]]:
    for at, other in enumerate(sas):
        for one in sas[:at]:
            yield one, other


def _same(one: SecurityAssociation, other: SecurityAssociation, of: str) -> Iterator[Fault]:
    """Faults of ``other`` against ``one``; ``of`` says where that stands, if elsewhere."""
    if (one.direction, one.spi, one.dst) == (other.direction, other.spi, other.dst):
        yield (
            f"sa {other.name}: spi",
            f"{other.spi:#x} serves sa {one.name}{of} already; choose another SPI",
        )
    if one.key == other.key:
        yield (
            f"sa {other.name}: key",
            f"is that of sa {one.name}{of}, and a nonce would seal two packets;"
            " give every security association and direction a key and salt of its own",
        )


def serves(config: TeamConfig, sa: SecurityAssociation) -> Policy | None:
    """The policy that an SA serves, where the file leaves no doubt."""
    protecting = [policy for policy in config.policies if policy.action == "protect"]
    if sa.policy is None:
        return protecting[0] if len(protecting) == 1 else None
    return next((policy for policy in protecting if policy.name == sa.policy), None)


def _bundles(config: TeamConfig) -> Iterator[Fault]:
    """A policy with several outbound SAs has one for each member (RFC 9611's way)."""
    for policy in config.policies:
        bundle = [sa for sa in config.sas if sa.direction == "out" and serves(config, sa) is policy]
        if len(bundle) < 2:
            continue
        for sa in bundle:
            if sa.member is None:
                yield (
                    f"sa {sa.name}: member",
                    f"is missing; each of the {len(bundle)} outbound security associations of"
                    f" policy {policy.name} names the member that carries it",
                )
        for name in _twice(sa.member for sa in bundle if sa.member is not None):
            yield (
                f"policy {policy.name}",
                f"has two outbound security associations by {name}; keep one for each member",
            )


def _transport(config: TeamConfig) -> Iterator[Fault]:
    """Transport mode goes between the two hosts themselves, so its policy holds both."""
    for sa in config.sas:
        policy = serves(config, sa)
        if sa.mode != "transport" or policy is None:
            continue
        ours, peers = (sa.src, sa.dst) if sa.direction == "out" else (sa.dst, sa.src)
        if ours not in policy.local or peers not in policy.remote:
            yield (
                f"sa {sa.name}: mode",
                f'"transport" needs its addresses inside policy {policy.name};'
                ' correct them, or write "tunnel"',
            )


def _engines(config: TeamConfig) -> Iterator[Fault]:
    """Where a policy protects, every member that carries must have somebody to encrypt for it."""
    if not any(policy.action == "protect" for policy in config.policies):
        return
    if not config.all_engines():
        yield "engine", 'a policy protects and there is none; add [[engine]] kind = "cpu"'
        return
    software = config.team.software != "never"
    shared = [
        engine
        for engine, _ in config.all_engines()
        if engine.secondary and (software or not engine.costs_host_cpu)
    ]
    for member in config.members:
        if not member.carry:
            continue
        engines = (*shared, *_own(member))
        needs = sorted({_need(sa) for sa in config.sas} or {_ANYTHING})
        # The least of each cipher's comes first: where nobody does that, the rest goes unsaid.
        said = set()
        for need in needs:
            if need.cipher not in said and not any(need.met_by(engine) for engine in engines):
                said.add(need.cipher)
                yield (
                    f"member {member.interface}",
                    f"no engine does {need} for it;"
                    ' add one, or set software = "overflow" and add [[engine]] kind = "cpu"',
                )


class _Need(NamedTuple):
    """What an SA asks of an engine; ``window`` is 0 where nothing is opened."""

    cipher: str
    esn: bool
    window: int

    def met_by(self, engine: EngineSpec) -> bool:
        """Whether an engine has all of it; processor cores do."""
        if engine.kind == "cpu" or self == _ANYTHING:
            return True
        widest = engine.max_replay_window
        return (
            self.cipher in engine.algorithms
            and (engine.esn or not self.esn)
            and (widest is None or self.window <= widest)
        )

    def __str__(self) -> str:
        parts = [self.cipher or "anything"]
        if self.esn:
            parts.append("extended sequence numbers")
        if self.window:
            parts.append(f"a replay window of {self.window}")
        return " with ".join((parts[0], " and ".join(parts[1:]))) if parts[1:] else parts[0]


_ANYTHING = _Need("", False, 0)


def _need(sa: SecurityAssociation) -> _Need:
    return _Need(sa.cipher, sa.esn, sa.replay_window if sa.direction == "in" else 0)


def _own(member: MemberSpec) -> tuple[EngineSpec, ...]:
    return (member.engine,) if member.engine is not None and member.engine.primary else ()


def _overlap(earlier: TeamConfig, config: TeamConfig) -> Iterator[Fault]:
    of = f" of {earlier.source}"
    if earlier.team.name == config.team.name:
        yield "team.name", f"{config.team.name} is the team{of} already; choose another name"
    theirs = {member.interface for member in earlier.members}
    for member in config.members:
        if member.interface in theirs:
            yield f"member {member.interface}", f"is a member of team {earlier.team.name} already"
        if member.interface == earlier.team.name:
            yield f"member {member.interface}", f"is the team{of}; a team is no member"
    if config.team.name in theirs:
        yield "team.name", f"{config.team.name} is a member of team {earlier.team.name}"
    own = {address.ip for address in earlier.team.addresses}
    for address in config.team.addresses:
        if address.ip in own:
            yield "team.address", f"{address.ip} is an address of team {earlier.team.name} already"
    names = {engine.name for engine, _ in earlier.all_engines()}
    for engine, _ in config.all_engines():
        if engine.name in names:
            yield f"engine {engine.name}", f"is an engine{of} already; the pool is the host's"
    for one in earlier.sas:
        for other in config.sas:
            yield from _same(one, other, of)
